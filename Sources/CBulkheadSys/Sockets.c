// Unix sockets that carry descriptors, and listening TCP sockets.

#define _GNU_SOURCE
#include "CBulkheadSys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int64_t result(int64_t value) { return value < 0 ? -(int64_t)errno : value; }

int64_t bh_seqpacket_pair(int descriptors[2]) {
  return result(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, descriptors));
}

int64_t bh_send(int fd, const void *bytes, size_t count, const int *descriptors, size_t descriptor_count) {
  if (descriptor_count > BH_MAXIMUM_DESCRIPTORS) return -EMSGSIZE;
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int) * BH_MAXIMUM_DESCRIPTORS)];
  } control;
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptor_count > 0) {
    memset(&control, 0, sizeof(control));
    message.msg_control = control.room;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptor_count);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * descriptor_count);
    memcpy(CMSG_DATA(header), descriptors, sizeof(int) * descriptor_count);
  }
  return result(sendmsg(fd, &message, MSG_NOSIGNAL));
}

int64_t bh_receive(int fd, void *bytes, size_t room, int *descriptors, size_t *descriptor_count) {
  size_t capacity = *descriptor_count;
  *descriptor_count = 0;
  if (capacity > BH_MAXIMUM_DESCRIPTORS) capacity = BH_MAXIMUM_DESCRIPTORS;
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int) * BH_MAXIMUM_DESCRIPTORS)];
  } control;
  memset(&control, 0, sizeof(control));
  struct iovec part = {.iov_base = bytes, .iov_len = room};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room,
      // With room for none the kernel installs none; CMSG_SPACE rounds up, so one more than asked for may come.
      .msg_controllen = capacity == 0 ? 0 : CMSG_SPACE(sizeof(int) * capacity)};
  ssize_t count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (count < 0) return -(int64_t)errno;
  size_t received = 0;
  int cut = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t number = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t index = 0; index < number; index++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(header) + index * sizeof(int), sizeof(int));
      if (received < capacity) {
        descriptors[received++] = descriptor;
      } else {
        close(descriptor);
        cut = 1;
      }
    }
  }
  if (cut) {
    for (size_t index = 0; index < received; index++) close(descriptors[index]);
    return -EMSGSIZE;
  }
  *descriptor_count = received;
  return count;
}

const char *bh_lookup_text(int lookup_error) { return gai_strerror(lookup_error); }

static int64_t listen_at(const struct addrinfo *address, int backlog) {
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -(int64_t)errno;
  int on = 1;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
      bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, backlog) < 0) {
    int64_t error = -(int64_t)errno;
    close(fd);
    return error;
  }
  return fd;
}

/// Writes the address that the socket is bound to.
static int64_t describe(int fd, char *bound, size_t bound_size, int *bound_port, int *is_ipv6) {
  struct sockaddr_storage name;
  socklen_t size = sizeof(name);
  memset(&name, 0, sizeof(name));
  if (getsockname(fd, (struct sockaddr *)&name, &size) < 0) return -(int64_t)errno;
  const void *raw;
  if (name.ss_family == AF_INET6) {
    *is_ipv6 = 1;
    *bound_port = ntohs(((struct sockaddr_in6 *)&name)->sin6_port);
    raw = &((struct sockaddr_in6 *)&name)->sin6_addr;
  } else if (name.ss_family == AF_INET) {
    *is_ipv6 = 0;
    *bound_port = ntohs(((struct sockaddr_in *)&name)->sin_port);
    raw = &((struct sockaddr_in *)&name)->sin_addr;
  } else {
    return -EAFNOSUPPORT;
  }
  return inet_ntop(name.ss_family, raw, bound, (socklen_t)bound_size) == NULL ? -(int64_t)errno : 0;
}

int64_t bh_listen(const char *host, const char *port, int backlog, char *bound, size_t bound_size, int *bound_port,
                  int *is_ipv6, int *lookup_error) {
  struct addrinfo hints = {
      .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
  struct addrinfo *addresses = NULL;
  *lookup_error = getaddrinfo(host, port, &hints, &addresses);
  if (*lookup_error != 0) return *lookup_error == EAI_SYSTEM ? -(int64_t)errno : -EINVAL;
  int64_t fd = -EADDRNOTAVAIL;
  for (struct addrinfo *address = addresses; address != NULL; address = address->ai_next) {
    fd = listen_at(address, backlog);
    if (fd >= 0) break;
  }
  freeaddrinfo(addresses);
  if (fd < 0) return fd;

  int64_t outcome = describe((int)fd, bound, bound_size, bound_port, is_ipv6);
  if (outcome < 0) {
    close((int)fd);
    return outcome;
  }
  return fd;
}

int64_t bh_adopt_listener(int fd, char *bound, size_t bound_size, int *bound_port, int *is_ipv6) {
  int type = 0, accepts = 0;
  socklen_t size = sizeof(type);
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0) return -(int64_t)errno;
  if (type != SOCK_STREAM) return -ESOCKTNOSUPPORT;
  int64_t outcome = describe(fd, bound, bound_size, bound_port, is_ipv6);
  if (outcome < 0) return outcome;
  size = sizeof(accepts);
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) < 0) return -(int64_t)errno;
  if (!accepts) return -ENOTCONN;
  int flags = fcntl(fd, F_GETFL), descriptor_flags = fcntl(fd, F_GETFD);
  if (flags < 0 || descriptor_flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
      fcntl(fd, F_SETFD, descriptor_flags | FD_CLOEXEC) < 0) {
    return -(int64_t)errno;
  }
  return 0;
}

int64_t bh_backlog(int fd) {
  struct tcp_info info;
  socklen_t size = sizeof(info);
  memset(&info, 0, sizeof(info));
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return -(int64_t)errno;
  // Of a listening socket `tcpi_unacked` is how many wait, and this how many may.
  return info.tcpi_state == TCP_LISTEN ? (int64_t)info.tcpi_sacked : -ENOTCONN;
}

int64_t bh_set_backlog(int fd, int backlog) { return listen(fd, backlog) < 0 ? -(int64_t)errno : 0; }

static int is_any(const struct sockaddr_storage *name) {
  if (name->ss_family == AF_INET) return ((const struct sockaddr_in *)name)->sin_addr.s_addr == htonl(INADDR_ANY);
  return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)name)->sin6_addr);
}

static int port_of(const struct sockaddr_storage *name) {
  return ntohs(name->ss_family == AF_INET ? ((const struct sockaddr_in *)name)->sin_port
                                          : ((const struct sockaddr_in6 *)name)->sin6_port);
}

static int same_address(const struct sockaddr_storage *wanted, const struct sockaddr_storage *bound) {
  int port = port_of(wanted);
  if (port != 0 && port != port_of(bound)) return 0;
  if (is_any(wanted) || is_any(bound)) return is_any(wanted) && is_any(bound);
  if (wanted->ss_family != bound->ss_family) return 0;
  if (wanted->ss_family == AF_INET) {
    return ((const struct sockaddr_in *)wanted)->sin_addr.s_addr == ((const struct sockaddr_in *)bound)->sin_addr.s_addr;
  }
  return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)wanted)->sin6_addr,
                            &((const struct sockaddr_in6 *)bound)->sin6_addr);
}

int64_t bh_is_bound_to(int fd, const char *host, const char *port) {
  struct sockaddr_storage bound;
  socklen_t size = sizeof(bound);
  memset(&bound, 0, sizeof(bound));
  if (getsockname(fd, (struct sockaddr *)&bound, &size) < 0) return -(int64_t)errno;
  if (bound.ss_family != AF_INET && bound.ss_family != AF_INET6) return 0;
  struct addrinfo hints = {
      .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
  struct addrinfo *addresses = NULL;
  if (getaddrinfo(host, port, &hints, &addresses) != 0) return 0;
  int found = 0;
  for (struct addrinfo *address = addresses; address != NULL && !found; address = address->ai_next) {
    struct sockaddr_storage wanted;
    if ((address->ai_family != AF_INET && address->ai_family != AF_INET6) || address->ai_addrlen > sizeof(wanted)) continue;
    memset(&wanted, 0, sizeof(wanted));
    memcpy(&wanted, address->ai_addr, address->ai_addrlen);
    found = same_address(&wanted, &bound);
  }
  freeaddrinfo(addresses);
  return found;
}

int64_t bh_unix_datagram_to(const char *path, size_t length) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (length == 0 || length >= sizeof(address.sun_path)) return -ENAMETOOLONG;
  if (path[0] != '/' && path[0] != '@') return -EAFNOSUPPORT;
  memcpy(address.sun_path, path, length);
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
  if (path[0] == '@') {
    // A name of the abstract namespace has no end but its length.
    address.sun_path[0] = 0;
  } else {
    size += 1;
  }
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -(int64_t)errno;
  if (connect(fd, (struct sockaddr *)&address, size) < 0) {
    int64_t error = -(int64_t)errno;
    close(fd);
    return error;
  }
  return fd;
}

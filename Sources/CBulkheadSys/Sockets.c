// Unix sockets that carry descriptors, and listening TCP sockets.

#define _GNU_SOURCE
#include "CBulkheadSys.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
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

int64_t bh_peer_credentials(int fd, int32_t *pid, uint32_t *uid, uint32_t *gid) {
  struct ucred credentials;
  socklen_t size = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) return -(int64_t)errno;
  *pid = credentials.pid;
  *uid = credentials.uid;
  *gid = credentials.gid;
  return 0;
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

  struct sockaddr_storage name;
  socklen_t size = sizeof(name);
  memset(&name, 0, sizeof(name));
  if (getsockname((int)fd, (struct sockaddr *)&name, &size) < 0) {
    int64_t error = -(int64_t)errno;
    close((int)fd);
    return error;
  }
  const void *raw;
  if (name.ss_family == AF_INET6) {
    *is_ipv6 = 1;
    *bound_port = ntohs(((struct sockaddr_in6 *)&name)->sin6_port);
    raw = &((struct sockaddr_in6 *)&name)->sin6_addr;
  } else {
    *is_ipv6 = 0;
    *bound_port = ntohs(((struct sockaddr_in *)&name)->sin_port);
    raw = &((struct sockaddr_in *)&name)->sin_addr;
  }
  if (inet_ntop(name.ss_family, raw, bound, (socklen_t)bound_size) == NULL) {
    int64_t error = -(int64_t)errno;
    close((int)fd);
    return error;
  }
  return fd;
}

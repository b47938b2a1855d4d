// The upstream of the benchmark of bodies: reads a request's body to its end, then answers with as many bytes as its path
// says. A thread per connection, HTTP/1.1 with content-length alone.
//
//     body_server PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 1 << 18 };
static char filler[PIECE];

static int send_all(int connection, const char *data, size_t size) {
  while (size > 0) {
    ssize_t sent = send(connection, data, size, MSG_NOSIGNAL);
    if (sent <= 0) return -1;
    data += sent;
    size -= (size_t)sent;
  }
  return 0;
}

static void *serve(void *argument) {
  int connection = (int)(long)argument;
  char *buffer = malloc(PIECE + 1);
  size_t filled = 0;
  while (buffer != NULL) {
    char *end;
    buffer[filled] = 0;
    while ((end = strstr(buffer, "\r\n\r\n")) == NULL) {
      ssize_t got = filled < PIECE ? recv(connection, buffer + filled, PIECE - filled, 0) : 0;
      if (got <= 0) goto done;
      filled += (size_t)got;
      buffer[filled] = 0;
    }
    size_t head = (size_t)(end - buffer) + 4;
    char *field = strcasestr(buffer, "\r\ncontent-length:");
    size_t body = field != NULL && field < end ? strtoul(field + 17, NULL, 10) : 0;
    char *path = strstr(buffer, "/body/");
    size_t wanted = path != NULL && path < end ? strtoul(path + 6, NULL, 10) : 0;
    size_t there = filled - head;
    if (there > body) {
      memmove(buffer, buffer + head + body, there - body);
      filled = there - body;
    } else {
      size_t left = body - there;
      while (left > 0) {
        ssize_t got = recv(connection, buffer, left < PIECE ? left : PIECE, 0);
        if (got <= 0) goto done;
        left -= (size_t)got;
      }
      filled = 0;
    }
    char answer[128];
    int size = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\n\r\n", wanted);
    if (send_all(connection, answer, (size_t)size) != 0) break;
    for (size_t left = wanted; left > 0;) {
      size_t piece = left < PIECE ? left : PIECE;
      if (send_all(connection, filler, piece) != 0) goto done;
      left -= piece;
    }
  }
done:
  free(buffer);
  close(connection);
  return NULL;
}

int main(int count, char **arguments) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  if (count != 2) return 64;
  memset(filler, 'x', sizeof filler);
  address.sin_port = htons((unsigned short)atoi(arguments[1]));
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1024) != 0) {
    perror("body_server");
    return 69;
  }
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) continue;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, (void *)(long)connection) != 0) close(connection);
    else pthread_detach(thread);
  }
}

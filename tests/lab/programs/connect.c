// The smallest client: connect, ask, read to the end.  Linked statically, so no preloaded library could see it.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int
main(int argc, char** argv)
{
    const char* request = "GET / HTTP/1.0\r\n\r\n";
    char reply[4096];
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (argc < 3 || fd < 0 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) {
        return 2;
    }
    address.sin_port = htons((unsigned short)atoi(argv[2]));
    if (connect(fd, (struct sockaddr*)&address, sizeof(address)) != 0) {
        perror("connect");
        return 1;
    }
    if (write(fd, request, strlen(request)) < 0) {
        return 1;
    }
    while (read(fd, reply, sizeof(reply)) > 0) {
        continue;
    }
    puts("connected");
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
//
// Prints the address of each name that it is given, as the C library of the file system that it
// runs in finds it.
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct addrinfo *found = NULL;
        const struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
        int failed = getaddrinfo(argv[i], NULL, &wanted, &found);
        char text[INET_ADDRSTRLEN] = "";
        if (failed == 0) {
            inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text,
                      sizeof text);
            freeaddrinfo(found);
        }
        printf("%s %s\n", argv[i], failed != 0 ? gai_strerror(failed) : text);
    }
    return 0;
}

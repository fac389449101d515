/* Sends frames into a tap device and tells by which of the devices each leaves.
 *
 *     bond_probe FRAMES TAP DEVICE...
 *
 * FRAMES holds, for each frame, its length (16 bits, the guest's byte order) and its bytes.  One character a frame goes to standard output:
 * the device's place in the list (0, 1, ...), `-` if the frame left by none within a second, `*` if it left by several.
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ADDRESSES = 12, MOST_DEVICES = 8, LONGEST = 2048, PATIENCE_MS = 1000 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int open_tap(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int tap = open("/dev/net/tun", O_RDWR);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request) < 0)
        die(name);
    return tap;
}

static int index_of(int ear, const char *name)
{
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(ear, SIOCGIFINDEX, &request) < 0)
        die(name);
    return request.ifr_ifindex;
}

/* The place of the device by which the frame (known by its two addresses) left, -1 if nothing came within `patience`. */
static int heard(int ear, const uint8_t *frame, const int *devices, int count, int patience)
{
    uint8_t data[LONGEST];
    for (;;) {
        struct pollfd wait = {.fd = ear, .events = POLLIN};
        struct sockaddr_ll from;
        socklen_t size = sizeof from;
        if (poll(&wait, 1, patience) <= 0)
            return -1;
        if (recvfrom(ear, data, sizeof data, 0, (struct sockaddr *)&from, &size) < ADDRESSES || from.sll_pkttype != PACKET_OUTGOING
            || memcmp(data, frame, ADDRESSES) != 0)
            continue;
        for (int place = 0; place < count; place++)
            if (from.sll_ifindex == devices[place])
                return place;
    }
}

int main(int argc, char **argv)
{
    int devices[MOST_DEVICES], count = argc - 3;
    int ear = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    if (count < 1 || count > MOST_DEVICES || ear < 0)
        die("bond_probe");
    for (int place = 0; place < count; place++)
        devices[place] = index_of(ear, argv[3 + place]);
    int tap = open_tap(argv[2]);
    FILE *frames = fopen(argv[1], "rb");
    if (!frames)
        die(argv[1]);
    uint16_t length;
    uint8_t frame[LONGEST];
    while (fread(&length, sizeof length, 1, frames) == 1) {
        if (length > sizeof frame || fread(frame, 1, length, frames) != length)
            die("frames");
        if (write(tap, frame, length) != length)
            die("write");
        int place = heard(ear, frame, devices, count, PATIENCE_MS);
        putchar(place < 0 ? '-' : heard(ear, frame, devices, count, 0) < 0 ? '0' + place : '*');
    }
    putchar('\n');
    return 0;
}

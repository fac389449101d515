/* probe.c: what the guests of the tests can't do with busybox.
 *
 *   probe inject IF HEX [COUNT]   send a frame as it is, through a packet socket
 *   probe data SEED BYTES         write pseudo-random bytes to standard output
 *   probe card IF                 the features of a card, as its driver has them: one "word on|off" a line
 *   probe watch IF SECONDS        frames that come in by IF with their tags, one line of hex each, until so many seconds passed without one
 *   probe tso IF on|off           let the card cut TCP segments, or not
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int packet_socket(const char *interface, int protocol)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = (int)if_nametoindex(interface)};
    int fd = socket(AF_PACKET, SOCK_RAW, htons(protocol));
    if (fd < 0 || !address.sll_ifindex || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -1;
    return fd;
}

static int inject(const char *interface, const char *hex, long count)
{
    static uint8_t frame[65536];
    size_t length = strlen(hex) / 2;
    int fd = packet_socket(interface, 0);
    if (fd < 0 || length > sizeof frame)
        return fail(interface);
    for (size_t i = 0; i < length; i++) {
        unsigned byte;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return fail("hex");
        frame[i] = (uint8_t)byte;
    }
    for (long i = 0; i < count; i++)
        while (send(fd, frame, length, 0) < 0)
            if (errno != ENOBUFS)
                return fail("send");
    return 0;
}

static int data(uint64_t seed, unsigned long long bytes)
{
    static uint64_t words[8192];
    uint64_t x = seed * 0x9E3779B97F4A7C15u | 1;
    while (bytes) {
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            words[i] = x;
        }
        size_t wanted = bytes < sizeof words ? (size_t)bytes : sizeof words;
        for (size_t done = 0; done < wanted;) {
            ssize_t n = write(1, (char *)words + done, wanted - done);
            if (n <= 0)
                return fail("write");
            done += (size_t)n;
        }
        bytes -= wanted;
    }
    return 0;
}

static int feature(int fd, struct ifreq *request, uint32_t command, uint32_t bit, const char *name)
{
    struct ethtool_value value = {.cmd = command};
    request->ifr_data = (void *)&value;
    int on = ioctl(fd, SIOCETHTOOL, request) == 0 && (bit ? value.data & bit : value.data);
    printf("%s %s\n", name, on ? "on" : "off");
    return on;
}

/* The names of features are strings of the kernel; their places in the bit sets differ between kernels. */
static int features(int fd, struct ifreq *request)
{
    struct {
        struct ethtool_sset_info info;
        uint32_t count;
    } sets = {.info = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1u << ETH_SS_FEATURES}};
    request->ifr_data = (void *)&sets;
    if (ioctl(fd, SIOCETHTOOL, request) < 0)
        return fail("ETHTOOL_GSSET_INFO");
    uint32_t count = sets.count, blocks = (count + 31) / 32;
    struct ethtool_gstrings *names = calloc(1, sizeof *names + count * ETH_GSTRING_LEN);
    struct ethtool_gfeatures *have = calloc(1, sizeof *have + blocks * sizeof have->features[0]);
    if (!names || !have)
        return fail("calloc");
    names->cmd = ETHTOOL_GSTRINGS;
    names->string_set = ETH_SS_FEATURES;
    names->len = count;
    request->ifr_data = (void *)names;
    if (ioctl(fd, SIOCETHTOOL, request) < 0)
        return fail("ETHTOOL_GSTRINGS");
    have->cmd = ETHTOOL_GFEATURES;
    have->size = blocks;
    request->ifr_data = (void *)have;
    if (ioctl(fd, SIOCETHTOOL, request) < 0)
        return fail("ETHTOOL_GFEATURES");
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bit = 1u << (i % 32);
        const struct ethtool_get_features_block *block = &have->features[i / 32];
        if ((block->available | block->active) & bit)
            printf("%s %s\n", (char *)names->data + i * ETH_GSTRING_LEN, block->active & bit ? "on" : "off");
    }
    return 0;
}

static int card(const char *interface)
{
    struct ifreq request = {0};
    struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
    struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    request.ifr_data = (void *)&driver;
    if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request) < 0)
        return fail(interface);
    printf("driver %s\n", driver.driver);
    feature(fd, &request, ETHTOOL_GLINK, 0, "link");
    request.ifr_data = (void *)&channels;
    if (ioctl(fd, SIOCETHTOOL, &request) == 0)
        printf("channels %u\n", channels.max_combined ? channels.max_combined : channels.max_rx);
    return features(fd, &request);
}

static int tso(const char *interface, int on)
{
    struct ifreq request = {0};
    struct ethtool_value value = {.cmd = ETHTOOL_STSO, .data = (uint32_t)on};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    request.ifr_data = (void *)&value;
    return fd >= 0 && ioctl(fd, SIOCETHTOOL, &request) == 0 ? 0 : fail(interface);
}

/* The kernel takes the outermost tag out of the bytes before anybody sees them, and says so beside them. */
static void print_tag(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        struct tpacket_auxdata aux;
        if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
            continue;
        memcpy(&aux, CMSG_DATA(c), sizeof aux);
        if (aux.tp_status & TP_STATUS_VLAN_VALID)
            printf("%04x%04x", aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : 0x8100, aux.tp_vlan_tci);
    }
}

static int watch(const char *interface, int seconds)
{
    static uint8_t frame[65536];
    int yes = 1;
    struct pollfd wait = {.fd = packet_socket(interface, ETH_P_ALL), .events = POLLIN};
    if (wait.fd < 0 || setsockopt(wait.fd, SOL_PACKET, PACKET_AUXDATA, &yes, sizeof yes) < 0)
        return fail(interface);
    printf("watching\n");
    fflush(stdout);
    while (poll(&wait, 1, seconds * 1000) > 0) {
        struct sockaddr_ll from;
        _Alignas(struct cmsghdr) char control[256];
        struct iovec part = {frame, sizeof frame};
        struct msghdr message = {&from, sizeof from, &part, 1, control, sizeof control, 0};
        ssize_t n = recvmsg(wait.fd, &message, 0);
        if (n < 0)
            return fail("recvmsg");
        if (from.sll_pkttype == PACKET_OUTGOING)
            continue;
        for (ssize_t i = 0; i < n; i++) {
            if (i == 2 * ETH_ALEN)
                print_tag(&message);
            printf("%02x", frame[i]);
        }
        printf("\n");
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && !strcmp(argv[1], "inject"))
        return inject(argv[2], argv[3], argc > 4 ? atol(argv[4]) : 1);
    if (argc == 4 && !strcmp(argv[1], "data"))
        return data(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    if (argc == 3 && !strcmp(argv[1], "card"))
        return card(argv[2]);
    if (argc == 4 && !strcmp(argv[1], "watch"))
        return watch(argv[2], atoi(argv[3]));
    if (argc == 4 && !strcmp(argv[1], "tso"))
        return tso(argv[2], !strcmp(argv[3], "on"));
    fprintf(stderr, "usage: probe inject IF HEX [COUNT] | data SEED BYTES | card IF | watch IF SECONDS | tso IF on|off\n");
    return 2;
}

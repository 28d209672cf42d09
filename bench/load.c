/* The load: many WebSocket connections from one thread, on epoll.

   Every connection is a member of one of the rooms, in turn. With a way of sending (--window, --own or --rate) the
   first members of the rooms send; the frames that contain the text of --expect are counted at all members. In what is
   sent, "%s" becomes a number of 19 digits: the time in nanoseconds at which it was due, different for each frame. It
   is read again right behind the text of --expect.

   Prints "begin" and "end" around what is measured, and then the measurement as JSON. Measures longer than --seconds if
   nothing has arrived by then. Ends with 1 and a line on standard error if a member is cut off, or nothing arrives for
   some seconds. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { ADDRESSES = 200, DIGITS = 19, FLOOD_FRAMES = 64 };
enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

static const int64_t SECOND = 1000000000;
static const int PAUSE = 50000; /* nanoseconds in which the load lets frames queue, if enough are in flight */
static const double PATIENCE = 8; /* seconds without a frame */
static const double DRAIN = 2;    /* seconds for frames in flight at the end */

/* Options. */
static int port, connections = 1, rooms = 1, senders = 1, window, at_once = 16;
static bool socketio, own, hold, handshakes, stuck, flood;
static double rate, settle = 0.5, seconds = 1, warmup = 1;
static const char *path = "/", *hello, *ready, *say, *expect = "stamp:";
static char **cookies;
static int cookie_count;

typedef enum { CLOSED, UPGRADING, JOINING, OPEN, LEAVING } State;
typedef enum { MEMBER, STUCK, FLOOD } Role;

typedef struct {
    int fd, number, room;
    State state;
    Role role;
    char *in;
    size_t have, size;
    size_t flood_offset;
    int64_t reopen, sent_stamp;
} Connection;

typedef struct {
    int members;
    long pending; /* deliveries that were expected and did not arrive */
    Connection *sender;
} Room;

static Connection *all;
static Room *room_list;
static int total, epoll, timer = -1;
static int next_to_open, opening, open_members;
static int64_t started, last_frame, phase_end, next_due, interval, turn;
static enum { CONNECTING, SETTLING, WARMING, MEASURING, DRAINING, DONE } phase;
static bool sending;

/* Results. */
static uint64_t sent, received, acknowledged, opened, wanted;
static int64_t measured_from, measured_until;
static double cpu_from, cpu_until;
static uint32_t *samples; /* microseconds */
static size_t sample_count, sample_size;

static char flood_block[FLOOD_FRAMES * 4096];
static size_t flood_length;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Frames out. The mask is zero, so that masking changes nothing. */

static size_t put_frame(char *out, int opcode, const char *text, size_t length) {
    size_t head = 2;
    out[0] = (char)(0x80 | opcode);
    if (length < 126) {
        out[1] = (char)(0x80 | length);
    } else {
        out[1] = (char)(0x80 | 126);
        out[2] = (char)(length >> 8);
        out[3] = (char)length;
        head = 4;
    }
    memset(out + head, 0, 4);
    memcpy(out + head + 4, text, length);
    return head + 4 + length;
}

static void send_all(Connection *c, const char *data, size_t length) {
    if (send(c->fd, data, length, MSG_NOSIGNAL) != (ssize_t)length)
        fail("connection %d cannot send: %s", c->number, strerror(errno));
}

static void send_text(Connection *c, int opcode, const char *text, size_t length) {
    char frame[4096];
    if (length > sizeof frame - 8) length = sizeof frame - 8;
    send_all(c, frame, put_frame(frame, opcode, text, length));
}

static void say_at(Connection *c, int64_t stamp) {
    char digits[DIGITS + 1], text[4000];
    c->sent_stamp = stamp;
    snprintf(digits, sizeof digits, "%019lld", (long long)stamp);
    send_text(c, TEXT, text, (size_t)snprintf(text, sizeof text, say, digits));
    sent++;
}

static void keep_window_full(Room *room) {
    while (sending && room->pending <= (long)(window - 1) * room->members) {
        room->pending += room->members;
        say_at(room->sender, now());
    }
}

static void keep_flooding(Connection *c) {
    for (;;) {
        ssize_t done = send(c->fd, flood_block + c->flood_offset, flood_length - c->flood_offset, MSG_NOSIGNAL);
        if (done <= 0) return;
        c->flood_offset = (c->flood_offset + (size_t)done) % flood_length;
    }
}

/* Connections. */

static void open_connection(Connection *c) {
    int on = 1, off = 0, small = 4096, smallest = 88;
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    /* Many own addresses, because each has only some ten thousand ports. */
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(turn++ % ADDRESSES));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("no socket for connection %d: %s", c->number, strerror(errno));
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
    if (c->role == STUCK) { /* small segments as well, because they bound what the server's kernel keeps for us */
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        setsockopt(c->fd, IPPROTO_TCP, TCP_MAXSEG, &smallest, sizeof smallest);
    }
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from) || connect(c->fd, (struct sockaddr *)&to, sizeof to))
        fail("connection %d cannot connect: %s", c->number, strerror(errno));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);

    char where[256], request[2048], cookie[512] = "";
    snprintf(where, sizeof where, path, c->room);
    if (cookie_count) snprintf(cookie, sizeof cookie, "Cookie: %s\r\n", cookies[c->number % cookie_count]);
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n%s\r\n",
                          where, port, cookie);
    c->state = UPGRADING;
    c->have = c->flood_offset = 0;
    opening++;
    send_all(c, request, (size_t)length);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static void open_more(void) {
    while (opening < at_once && next_to_open < total) open_connection(&all[next_to_open++]);
}

static void joined(Connection *c) {
    c->state = OPEN;
    opening--;
    if (handshakes) {
        opened++;
        c->state = LEAVING;
        send_text(c, CLOSE, "\x03\xe8", 2);
    } else if (c->role == MEMBER) {
        open_members++;
    } else {
        struct epoll_event event = {.events = c->role == FLOOD ? EPOLLIN | EPOLLOUT | EPOLLET : 0, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    }
    open_more();
}

static void ended(Connection *c, const char *how, int code) {
    bool expected = c->state == LEAVING || c->role != MEMBER || (phase == DONE && !hold);
    if (!expected) fail("connection %d %s (%d)", c->number, how, code);
    if (c->state == UPGRADING || c->state == JOINING) opening--;
    close(c->fd);
    c->state = CLOSED;
    if (handshakes) open_connection(c);
    else if (c->role == FLOOD) c->reopen = now() + SECOND;
}

static void upgraded(Connection *c) {
    char text[256];
    c->state = JOINING;
    if (hello && !socketio) send_text(c, TEXT, text, (size_t)snprintf(text, sizeof text, hello, c->room));
    if (!ready && !socketio) joined(c);
}

/* Frames in. */

static void take_sample(int64_t stamp) {
    if (sample_count == sample_size) {
        sample_size = sample_size ? 2 * sample_size : 1 << 16;
        samples = realloc(samples, sample_size * sizeof *samples);
    }
    samples[sample_count++] = (uint32_t)((now() - stamp) / 1000);
}

static void take_counted(Connection *c, const char *behind) {
    received++;
    if (window) {
        Room *room = &room_list[c->room];
        room->pending--;
        keep_window_full(room);
    } else if (own) {
        if (atoll(behind) == c->sent_stamp) {
            acknowledged++;
            if (sending) say_at(c, now());
        }
    } else if (rate > 0) {
        int64_t stamp = atoll(behind);
        if (stamp >= measured_from && (phase == MEASURING || phase == DRAINING)) take_sample(stamp);
    }
}

static void take_socketio(Connection *c, const char *text, size_t length) {
    char join[256];
    if (text[0] == '2') send_text(c, TEXT, "3", 1);
    else if (text[0] == '0') send_text(c, TEXT, "40", 2);
    else if (length > 1 && text[0] == '4' && text[1] == '0') {
        if (hello) send_text(c, TEXT, join, (size_t)snprintf(join, sizeof join, hello, c->room));
        if (!ready) joined(c);
    }
}

static void take_text(Connection *c, const char *text, size_t length) {
    if (socketio && length) take_socketio(c, text, length);
    if (c->state == JOINING && ready && memmem(text, length, ready, strlen(ready))) {
        joined(c);
    } else if (c->state == OPEN && c->role == MEMBER) {
        const char *found = memmem(text, length, expect, strlen(expect));
        if (found) take_counted(c, found + strlen(expect));
    }
}

/* Handles the next frame at `at`. Returns its length, or 0 if it is incomplete. */
static size_t take_frame(Connection *c, const char *at, size_t have) {
    const unsigned char *head = (const unsigned char *)at;
    if (have < 2) return 0;
    size_t length = head[1] & 127, start = 2;
    if (length == 126) {
        if (have < 4) return 0;
        length = (size_t)head[2] << 8 | head[3];
        start = 4;
    } else if (length == 127) {
        if (have < 10) return 0;
        length = (size_t)head[6] << 24 | (size_t)head[7] << 16 | (size_t)head[8] << 8 | head[9];
        start = 10;
    }
    if (have < start + length) return 0;
    int opcode = head[0] & 15;
    if (opcode == TEXT) take_text(c, at + start, length);
    else if (opcode == PING) send_text(c, PONG, at + start, length);
    else if (opcode == CLOSE)
        ended(c, "was closed by the server", length < 2 ? 0 : head[start] << 8 | head[start + 1]);
    return start + length;
}

/* Reads once; returns whether there may be more. */
static bool take_input(Connection *c) {
    if (c->have == c->size) {
        c->size = c->size ? 2 * c->size : 4096;
        c->in = realloc(c->in, c->size + 1);
    }
    ssize_t more = recv(c->fd, c->in + c->have, c->size - c->have, 0);
    if (more < 0 && errno == EAGAIN) return false;
    if (more <= 0) {
        ended(c, "was cut", more ? errno : 0);
        return false;
    }
    c->have += (size_t)more;
    bool full = c->have == c->size;
    c->in[c->have] = 0;
    size_t done = 0;
    if (c->state == UPGRADING) {
        char *end = strstr(c->in, "\r\n\r\n");
        if (!end) return full;
        if (strncmp(c->in, "HTTP/1.1 101", 12)) fail("connection %d was answered with %.40s", c->number, c->in);
        done = (size_t)(end + 4 - c->in);
        upgraded(c);
    }
    for (size_t length = 1; length && c->state != CLOSED && done < c->have; done += length) {
        length = take_frame(c, c->in + done, c->have - done);
        if (handshakes && c->state == UPGRADING) return false; /* closed, and opened again */
    }
    if (c->state == CLOSED) return false;
    c->have -= done;
    if (c->have) memmove(c->in, c->in + done, c->have);
    return full;
}

/* Schedule. */

static void start_sending(void) {
    sending = true;
    if (rate > 0) {
        interval = (int64_t)(SECOND / rate);
        next_due = now() + interval;
        struct itimerspec every = {{interval / SECOND, interval % SECOND}, {interval / SECOND, interval % SECOND}};
        timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
        timerfd_settime(timer, 0, &every, NULL);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
        epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    } else if (window) {
        for (int r = 0; r < rooms; r++) keep_window_full(&room_list[r]);
    } else if (own) {
        for (int c = 0; c < senders; c++) say_at(&all[c], now());
    }
}

/* In an open loop the time counts from when a frame was due, however late it was sent. */
static void send_what_is_due(void) {
    uint64_t expirations;
    if (read(timer, &expirations, sizeof expirations) < 0) return;
    for (int64_t time = now(); sending && next_due <= time; next_due += interval) {
        Connection *c = &all[turn++ % senders];
        if (next_due >= measured_from && phase == MEASURING) wanted += (uint64_t)room_list[c->room].members;
        say_at(c, next_due);
    }
}

static void begin(void) {
    sent = received = acknowledged = opened = 0;
    measured_from = now();
    cpu_from = cpu_seconds();
    puts("begin");
}

static void end(void) {
    measured_until = now();
    cpu_until = cpu_seconds();
    puts("end");
}

static uint64_t counted(void) { return handshakes ? opened : own ? acknowledged : received; }

static void advance(void) {
    int64_t time = now();
    if (phase == CONNECTING) {
        if (handshakes || open_members == connections) {
            if (!hold) printf("open %.3f\n", (double)(time - started) / SECOND);
            phase = hold ? DONE : SETTLING;
            if (hold) puts("open");
            phase_end = time + (handshakes ? 0 : (int64_t)(settle * SECOND));
        } else if (time - started > 60 * SECOND) {
            fail("only %d of %d connections are open after a minute", open_members, connections);
        }
    } else if (phase == SETTLING && time >= phase_end) {
        phase = WARMING;
        phase_end = time + (int64_t)(warmup * SECOND);
        last_frame = time;
        start_sending();
    } else if (phase == WARMING && time >= phase_end) {
        phase = MEASURING;
        phase_end = time + (int64_t)(seconds * SECOND);
        begin();
    } else if (phase == MEASURING && time >= phase_end && (counted() || time >= phase_end + (int64_t)(PATIENCE * SECOND))) {
        end();
        sending = false;
        phase = rate > 0 ? DRAINING : DONE;
        phase_end = time + (int64_t)(DRAIN * SECOND);
    } else if (phase == DRAINING && (time >= phase_end || sample_count >= wanted)) {
        phase = DONE;
    }
    if (sending && !handshakes && (window || own) && (time - last_frame) / (double)SECOND > PATIENCE)
        fail("nothing arrived for %.0f seconds", PATIENCE);
    for (int c = connections; c < total; c++)
        if (all[c].state == CLOSED && all[c].reopen && time >= all[c].reopen) open_connection(&all[c]);
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(double part) { /* milliseconds; lost frames count as later than everything */
    size_t place = (size_t)(part * (double)wanted);
    return place < sample_count ? samples[place] / 1000.0 : DRAIN * 1000;
}

static void report(void) {
    double elapsed = (double)(measured_until - measured_from) / SECOND;
    if (!counted()) fail("nothing arrived");
    if (sample_count) qsort(samples, sample_count, sizeof *samples, by_size);
    printf("{\"seconds\": %.6f, \"sent\": %llu, \"received\": %llu, \"acknowledged\": %llu, \"opened\": %llu,"
           " \"cpu\": %.6f, \"wanted\": %llu, \"lost\": %lld, \"p50\": %.3f, \"p99\": %.3f}\n",
           elapsed, (unsigned long long)sent, (unsigned long long)received, (unsigned long long)acknowledged,
           (unsigned long long)opened, cpu_until - cpu_from, (unsigned long long)wanted,
           (long long)wanted - (long long)sample_count, percentile(0.5), percentile(0.99));
}

static void run(void) {
    struct epoll_event events[512];
    while (phase != DONE || hold) {
        uint64_t before = received;
        int count = epoll_wait(epoll, events, 512, 20);
        for (int e = 0; e < count; e++) {
            Connection *c = events[e].data.ptr;
            if (!c) send_what_is_due();
            else if (c->fd == STDIN_FILENO) return;
            else if (c->role == STUCK && c->state == OPEN) ended(c, "was cut", 0);
            else if (c->state != CLOSED) {
                if (events[e].events & ~(uint32_t)EPOLLOUT)
                    while (take_input(c)) continue;
                if (c->role == FLOOD && c->state == OPEN && sending) keep_flooding(c);
            }
        }
        if (received != before) last_frame = now();
        /* Not for each frame: a wake-up costs more than a frame, and the server pays a part of it. */
        if (window > 1) nanosleep(&(struct timespec){0, PAUSE}, NULL);
        advance();
    }
}

static void read_cookies(const char *name) {
    char line[512];
    FILE *file = fopen(name, "r");
    if (!file) fail("%s: %s", name, strerror(errno));
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        cookies = realloc(cookies, (size_t)(cookie_count + 1) * sizeof *cookies);
        cookies[cookie_count++] = strdup(line);
    }
    fclose(file);
}

static void read_options(int count, char **arguments) {
    static const struct option names[] = {
        {"port", 1, 0, 'p'},     {"path", 1, 0, 'P'},    {"connections", 1, 0, 'n'}, {"rooms", 1, 0, 'r'},
        {"cookies", 1, 0, 'c'},  {"socketio", 0, 0, 'i'}, {"hello", 1, 0, 'h'},      {"ready", 1, 0, 'R'},
        {"say", 1, 0, 's'},      {"expect", 1, 0, 'e'},  {"window", 1, 0, 'w'},      {"own", 0, 0, 'o'},
        {"rate", 1, 0, 'a'},     {"senders", 1, 0, 'S'}, {"seconds", 1, 0, 't'},     {"warmup", 1, 0, 'u'},
        {"settle", 1, 0, 'T'},  {"at-once", 1, 0, 'A'},
        {"hold", 0, 0, 'H'},     {"handshakes", 0, 0, 'k'}, {"stuck", 0, 0, 'x'},    {"flood", 0, 0, 'f'},
        {0, 0, 0, 0}};
    for (int option; (option = getopt_long(count, arguments, "", names, NULL)) != -1;) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'P': path = optarg; break;
        case 'n': connections = atoi(optarg); break;
        case 'r': rooms = atoi(optarg); break;
        case 'c': read_cookies(optarg); break;
        case 'i': socketio = true; break;
        case 'h': hello = optarg; break;
        case 'R': ready = optarg; break;
        case 's': say = optarg; break;
        case 'e': expect = optarg; break;
        case 'w': window = atoi(optarg); break;
        case 'o': own = true; break;
        case 'a': rate = atof(optarg); break;
        case 'S': senders = atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'u': warmup = atof(optarg); break;
        case 'T': settle = atof(optarg); break;
        case 'A': at_once = atoi(optarg); break;
        case 'H': hold = true; break;
        case 'k': handshakes = true; break;
        case 'x': stuck = true; break;
        case 'f': flood = true; break;
        default: exit(2);
    }
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    setvbuf(stdout, NULL, _IOLBF, 0);
    total = connections + stuck + flood;
    all = calloc((size_t)total, sizeof *all);
    room_list = calloc((size_t)rooms, sizeof *room_list);
    for (int c = 0; c < total; c++) {
        all[c].number = c;
        all[c].room = c < connections ? c % rooms : 0;
        all[c].role = c < connections ? MEMBER : stuck && c == connections ? STUCK : FLOOD;
        if (c < rooms) room_list[c].sender = &all[c];
        if (c < connections) room_list[c % rooms].members++;
    }
    if (flood) {
        char text[4000];
        int length = snprintf(text, sizeof text, say, "flood");
        char *marked = strstr(text, expect);
        if (marked) memset(marked, 'x', strlen(expect)); /* not counted */
        for (int f = 0; f < FLOOD_FRAMES; f++)
            flood_length += put_frame(flood_block + flood_length, TEXT, text, (size_t)length);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    Connection input = {.fd = STDIN_FILENO, .state = OPEN};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &input};
    if (hold) epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    started = now();
    open_more();
    run();
    if (!hold) report();
    return 0;
}

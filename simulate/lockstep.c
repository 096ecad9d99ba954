/* Loaded before libc into a program of many threads: they run one at a time, in an order that a seed decides, in a time that
 * moves only when all of them wait. The program is not changed for it; what it asks of libc is answered here. One seed is
 * one run, to the last random byte, and another seed is another interleaving.
 *
 *     cc -std=c11 -O2 -shared -fPIC -o lockstep.so lockstep.c -ldl -lpthread
 *     LOCKSTEP_SEED=1 LD_PRELOAD=./lockstep.so program
 *
 * LOCKSTEP_SEED   a number. Without it everything goes to libc as if this library were not there.
 * LOCKSTEP_ORDER  `random` (default) or `fifo`: who of the threads that can run is next.
 * LOCKSTEP_START  the wall clock at the start, in Unix seconds (default: 2026-01-01).
 * LOCKSTEP_CPUS   how many processors the program sees (default 2). It runs on one.
 *
 * The thread that runs holds the baton. It gives it away only where it would wait in the kernel or where it yields: all that
 * is below is therefore used by one thread at a time, and needs no locks. What waits elsewhere holds the baton while it does:
 * C code that waits for another thread at a lock of pthreads, a read that blocks, a loop that spins without yielding. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* libc's own function, found at its first use: constructors of other libraries may call it before ours has run. */
#define REAL(name) \
    ({ \
        static __typeof__(&name) real; \
        if (!real) \
            real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        real; \
    })
/* What is asked by nobody who runs in lockstep is libc's to answer. */
#define LEAVE_UNLESS(ours, name, ...) \
    if (!(ours)) \
        return REAL(name)(__VA_ARGS__)

#define STOP(...) (dprintf(2, "lockstep: " __VA_ARGS__), _exit(70))

enum { THREADS = 8192, QUEUES = 256, ALL = INT_MAX, TIMED_OUT = -1000 };
static const uint64_t SECOND = 1000000000, NEVER = UINT64_MAX, GOLDEN = 0x9e3779b97f4a7c15;
/* What looking at a clock or yielding takes: who does so until a time has come does not do so for ever. */
static const uint64_t LOOK = 20;
static const uint64_t BOOT = 1000000000000; /* the monotonic clock at the start */

enum wait { RUNS, FUTEX, EPOLL, POLL, SLEEP, JOIN, YIELD, END };
static const char *const WAITS[] = {"runs", "futex", "epoll", "poll", "sleep", "join", "yield", "end"};

struct thread {
    uint32_t baton; /* a futex of the kernel: 1 once it is this thread's turn */
    uint32_t number;
    bool used, joinable, ended;
    pid_t tid;
    pthread_t handle;
    void *(*start)(void *), *argument;
    int64_t skew;
    int rounds; /* of destructors of thread-specific data so far */

    enum wait kind;
    int result;
    uint64_t deadline;
    uint32_t place; /* in the heap of deadlines, from 1; 0 is none */
    struct queue *queue;
    struct thread *before, *after;
    const void *address; /* of a futex, or of the thread that is joined */
    uint32_t bits;
    int epoll, room;
    struct epoll_event *events;
    struct pollfd *files;
    nfds_t count;
    int idle;         /* an epoll descriptor that had nothing … */
    uint64_t idle_at; /* … when there had been so many changes */
};

static struct thread table[THREADS];
static uint32_t highest, threads_made; /* slots of the table that were ever used */
static __thread struct thread *me __attribute__((tls_model("initial-exec")));
static bool at_random;
static int processors;
static uint64_t now = BOOT, wall, order_state, random_state, trace;
static struct queue {
    struct thread *first, *last;
} futexes[QUEUES], descriptors;
static struct thread *ready[THREADS]; /* a ring */
static uint32_t ready_first, ready_count;
static struct thread *heap[THREADS + 1];
static uint32_t heap_count;
/* Descriptors become ready only by what this process does to one: without a change since, none needs to be looked at. */
static uint64_t changes, changes_seen;
/* A thread that is at its end and gave the baton away, until the kernel, too, is done with it. */
static pid_t leaving;
static pthread_key_t at_end;

/* Randomness (splitmix64): two streams, so that how much a program draws does not change in which order it runs. */
static uint64_t draw(uint64_t *state) {
    uint64_t z = (*state += GOLDEN);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static long fill(uint8_t *to, size_t length) {
    for (size_t at = 0, part; at < length; at += part) {
        uint64_t word = draw(&random_state);
        part = length - at < sizeof word ? length - at : sizeof word;
        memcpy(to + at, &word, part);
    }
    return (long)length;
}

/* Who waits: in queues by what for, in a heap by how long, and in a ring those that can run. */
static struct queue *queue_of(const void *address) { return &futexes[((uintptr_t)address * GOLDEN) >> 56]; }
static void heap_put(struct thread *t, uint32_t place) { (heap[place] = t)->place = place; }

/* Puts the thread at the place or, where the order asks for it, above or below. */
static void heap_settle(struct thread *t, uint32_t place) {
    for (; place > 1 && t->deadline < heap[place / 2]->deadline; place /= 2)
        heap_put(heap[place / 2], place);
    for (uint32_t child; (child = 2 * place) <= heap_count; place = child) {
        if (child < heap_count && heap[child + 1]->deadline < heap[child]->deadline)
            child++;
        if (t->deadline <= heap[child]->deadline)
            break;
        heap_put(heap[child], place);
    }
    heap_put(t, place);
}

static void make_ready(struct thread *t) { ready[(ready_first + ready_count++) % THREADS] = t; }

static void wake(struct thread *t, int result) {
    if (t->queue) {
        *(t->before ? &t->before->after : &t->queue->first) = t->after;
        *(t->after ? &t->after->before : &t->queue->last) = t->before;
        t->queue = NULL;
    }
    if (t->place) {
        struct thread *last = heap[heap_count--];
        if (last != t)
            heap_settle(last, t->place);
        t->place = 0;
    }
    t->result = result;
    make_ready(t);
}

static int wake_those_at(const void *address, int most, uint32_t bits) {
    int woken = 0;
    for (struct thread *t = queue_of(address)->first, *after; t && woken < most; t = after) {
        after = t->after;
        if (t->address == address && (t->bits & bits)) {
            wake(t, 0);
            woken++;
        }
    }
    return woken;
}

/* Events are put where the waiting thread wants them: with edge-triggered ones, to look is to take. */
static int look_at(struct thread *t) {
    int n = t->kind == POLL ? REAL(poll)(t->files, t->count, 0) : REAL(epoll_wait)(t->epoll, t->events, t->room, 0);
    t->idle = t->kind == EPOLL && n == 0 ? t->epoll : -1;
    t->idle_at = changes;
    return n < 0 ? -errno : n;
}

static bool has_nothing(const struct thread *t) { return t->kind == EPOLL && t->idle == t->epoll && t->idle_at == changes; }

static void look_at_descriptors(void) {
    changes_seen = changes;
    for (struct thread *t = descriptors.first, *after; t; t = after) {
        after = t->after;
        int n = has_nothing(t) ? 0 : look_at(t);
        if (n != 0)
            wake(t, n);
    }
}

static __attribute__((noreturn)) void all_wait(void) {
    dprintf(2, "lockstep: everybody waits for ever\n");
    for (struct thread *t = table; t < table + highest; t++) {
        if (!t->used || t->ended)
            continue;
        dprintf(2, "  thread %u: %s", t->number, WAITS[t->kind]);
        if (t->kind == EPOLL)
            dprintf(2, " of descriptor %d\n", t->epoll);
        else if (t->kind == JOIN)
            dprintf(2, " of thread %u\n", ((struct thread *)t->address)->number);
        else
            dprintf(2, " at %p\n", t->address);
    }
    _exit(70);
}

static struct thread *choose(void) {
    for (;;) {
        if (changes != changes_seen)
            look_at_descriptors();
        while (heap_count && heap[1]->deadline <= now)
            wake(heap[1], TIMED_OUT);
        if (ready_count)
            break;
        if (heap_count) {
            now = heap[1]->deadline;
            continue;
        }
        changes++; /* perhaps one that was not seen */
        look_at_descriptors();
        if (!ready_count)
            all_wait();
    }
    struct thread **first = &ready[ready_first], **other = first;
    if (at_random && ready_count > 1)
        other = &ready[(ready_first + ((draw(&order_state) >> 32) * ready_count >> 32)) % THREADS];
    struct thread *chosen = *other;
    *other = *first;
    ready_first = (ready_first + 1) % THREADS;
    ready_count--;
    trace = (trace ^ now ^ (uint64_t)chosen->number << 48 ^ (uint64_t)chosen->kind << 44) * GOLDEN;
    trace ^= trace >> 29;
    chosen->kind = RUNS;
    return chosen;
}

/* The baton itself. */
static void give(struct thread *next) {
    __atomic_store_n(&next->baton, 1, __ATOMIC_RELEASE);
    REAL(syscall)(SYS_futex, &next->baton, FUTEX_WAKE_PRIVATE, 1);
}

static void take(struct thread *self) {
    while (!__atomic_load_n(&self->baton, __ATOMIC_ACQUIRE))
        REAL(syscall)(SYS_futex, &self->baton, FUTEX_WAIT_PRIVATE, 0, NULL);
    self->baton = 0;
    /* What libc does at a thread's end (its stack and its part of the heap are others' afterwards) would run beside us, and
     * which addresses the next allocations get would be left to chance. */
    while (leaving && REAL(syscall)(SYS_tgkill, getpid(), leaving, 0) == 0)
        REAL(sched_yield)();
    leaving = 0;
}

static void let_others_run(enum wait kind) {
    int error = errno;
    struct thread *self = me;
    self->kind = kind;
    struct thread *next = choose();
    if (next != self) {
        give(next);
        take(self);
    }
    errno = error;
}

/* Waits, in the queue if there is one, until woken or until the deadline. With what it was woken, or TIMED_OUT. */
static int wait_for(enum wait kind, struct queue *queue, uint64_t deadline) {
    me->deadline = deadline;
    if (queue) {
        me->queue = queue;
        me->before = queue->last;
        me->after = NULL;
        *(queue->last ? &queue->last->after : &queue->first) = me;
        queue->last = me;
    }
    if (deadline != NEVER)
        heap_settle(me, ++heap_count);
    let_others_run(kind);
    return me->result;
}

static void yield(void) {
    now += LOOK;
    make_ready(me);
    let_others_run(YIELD);
}

/* Time. */
enum clock { WALL, STEADY, OTHER };

static enum clock kind_of(clockid_t clock) {
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI)
        return WALL;
    bool steady = clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_MONOTONIC_RAW;
    return steady || clock == CLOCK_BOOTTIME ? STEADY : OTHER;
}

static bool is_time(const struct timespec *time) { return time->tv_sec >= 0 && (uint64_t)time->tv_nsec < SECOND; }

/* A deadline: so long from now, or at that time of the clock. */
static uint64_t after(uint64_t nanoseconds) { return nanoseconds > NEVER - now ? NEVER : now + nanoseconds; }

static uint64_t deadline_of(const struct timespec *time, bool absolute, enum clock clock) {
    if ((uint64_t)time->tv_sec >= INT64_MAX / SECOND)
        return NEVER;
    uint64_t at = (uint64_t)time->tv_sec * SECOND + (uint64_t)time->tv_nsec;
    if (!absolute || clock == STEADY)
        return absolute ? at : after(at);
    int64_t steady = (int64_t)(at - wall + BOOT) - me->skew;
    return steady < 0 ? 0 : (uint64_t)steady;
}

static uint64_t deadline_in(int milliseconds) { return milliseconds < 0 ? NEVER : after((uint64_t)milliseconds * 1000000); }

static struct timespec look(enum clock clock) {
    now += LOOK;
    uint64_t at = clock == WALL ? now - BOOT + wall + (uint64_t)me->skew : now;
    return (struct timespec){.tv_sec = (time_t)(at / SECOND), .tv_nsec = (long)(at % SECOND)};
}

int clock_gettime(clockid_t clock, struct timespec *to) {
    LEAVE_UNLESS(me && kind_of(clock) != OTHER, clock_gettime, clock, to);
    *to = look(kind_of(clock));
    return 0;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone) {
    LEAVE_UNLESS(me, gettimeofday, to, zone);
    struct timespec at = look(WALL);
    *to = (struct timeval){.tv_sec = at.tv_sec, .tv_usec = at.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *to) {
    LEAVE_UNLESS(me, time, to);
    time_t at = look(WALL).tv_sec;
    return to ? *to = at : at;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *rest) {
    LEAVE_UNLESS(me && kind_of(clock) != OTHER && is_time(time), clock_nanosleep, clock, flags, time, rest);
    wait_for(SLEEP, NULL, deadline_of(time, flags & TIMER_ABSTIME, kind_of(clock)));
    return 0;
}

int nanosleep(const struct timespec *time, struct timespec *rest) {
    LEAVE_UNLESS(me && is_time(time), nanosleep, time, rest);
    return clock_nanosleep(CLOCK_MONOTONIC, 0, time, rest);
}

int usleep(useconds_t microseconds) {
    LEAVE_UNLESS(me, usleep, microseconds);
    wait_for(SLEEP, NULL, after((uint64_t)microseconds * 1000));
    return 0;
}

int sched_yield(void) {
    LEAVE_UNLESS(me, sched_yield);
    yield();
    return 0;
}

static int fail(int error) { return errno = error, -1; }

/* Futexes are decided here: all who know of them are in this process, and nobody changes them while we look. */
static long futex(uint32_t *at, int operation, uint32_t value, const struct timespec *time, uint32_t bits) {
    int command = operation & FUTEX_CMD_MASK;
    if (command == FUTEX_WAIT || command == FUTEX_WAKE)
        bits = FUTEX_BITSET_MATCH_ANY;
    else if (command != FUTEX_WAIT_BITSET && command != FUTEX_WAKE_BITSET)
        STOP("futex operation %d is not known here\n", command);
    bool waits = command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
    if (bits == 0 || (waits && time && !is_time(time)))
        return fail(EINVAL);
    if (!waits)
        return wake_those_at(at, (int)value < 1 ? 1 : (int)value, bits);
    if (__atomic_load_n(at, __ATOMIC_SEQ_CST) != value)
        return fail(EAGAIN);
    me->address = at;
    me->bits = bits;
    enum clock clock = operation & FUTEX_CLOCK_REALTIME ? WALL : STEADY;
    uint64_t deadline = time ? deadline_of(time, command == FUTEX_WAIT_BITSET, clock) : NEVER;
    return wait_for(FUTEX, queue_of(at), deadline) == TIMED_OUT ? fail(ETIMEDOUT) : 0;
}

long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a[6];
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (me && number == SYS_futex)
        return futex((uint32_t *)a[0], (int)a[1], (uint32_t)a[2], (const struct timespec *)a[3], (uint32_t)a[5]);
    if (me && number == SYS_getrandom)
        return fill((uint8_t *)a[0], (size_t)a[1]);
    if (me && number == SYS_clock_gettime)
        return clock_gettime((clockid_t)a[0], (struct timespec *)a[1]);
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Descriptors. Who only looks is one who yields: a runtime that is never idle would not let others run. */
static int wait_for_descriptors(enum wait kind, uint64_t deadline) {
    if (deadline <= now)
        yield();
    me->kind = kind;
    int n = has_nothing(me) ? 0 : look_at(me);
    if (n == 0 && deadline > now)
        n = wait_for(kind, &descriptors, deadline);
    me->kind = RUNS;
    return n >= 0 ? n : n == TIMED_OUT ? 0 : fail(-n);
}

int epoll_wait(int epoll, struct epoll_event *events, int room, int milliseconds) {
    LEAVE_UNLESS(me, epoll_wait, epoll, events, room, milliseconds);
    me->epoll = epoll;
    me->events = events;
    me->room = room;
    return wait_for_descriptors(EPOLL, deadline_in(milliseconds));
}

int epoll_pwait(int epoll, struct epoll_event *events, int room, int milliseconds, const sigset_t *signals) {
    LEAVE_UNLESS(me, epoll_pwait, epoll, events, room, milliseconds, signals);
    return epoll_wait(epoll, events, room, milliseconds);
}

static int wait_for_files(struct pollfd *files, nfds_t count, uint64_t deadline) {
    me->files = files;
    me->count = count;
    return wait_for_descriptors(POLL, deadline);
}

int poll(struct pollfd *files, nfds_t count, int milliseconds) {
    LEAVE_UNLESS(me, poll, files, count, milliseconds);
    return wait_for_files(files, count, deadline_in(milliseconds));
}

int ppoll(struct pollfd *files, nfds_t count, const struct timespec *time, const sigset_t *signals) {
    LEAVE_UNLESS(me, ppoll, files, count, time, signals);
    return wait_for_files(files, count, time ? deadline_of(time, false, STEADY) : NEVER);
}

/* All by which a descriptor can become ready for somebody: reading makes room for the other end's writing. */
#define CHANGE(type, name, parameters, ...) \
    type name parameters { \
        changes += me != NULL; \
        return REAL(name)(__VA_ARGS__); \
    }
CHANGE(ssize_t, write, (int file, const void *from, size_t length), file, from, length)
CHANGE(ssize_t, writev, (int file, const struct iovec *from, int count), file, from, count)
CHANGE(ssize_t, send, (int file, const void *from, size_t length, int flags), file, from, length, flags)
CHANGE(ssize_t, sendmsg, (int file, const struct msghdr *message, int flags), file, message, flags)
CHANGE(ssize_t, read, (int file, void *to, size_t length), file, to, length)
CHANGE(ssize_t, readv, (int file, const struct iovec *to, int count), file, to, count)
CHANGE(ssize_t, recv, (int file, void *to, size_t length, int flags), file, to, length, flags)
CHANGE(ssize_t, recvmsg, (int file, struct msghdr *message, int flags), file, message, flags)
CHANGE(int, shutdown, (int file, int how), file, how)
CHANGE(int, close, (int file), file)
CHANGE(int, epoll_ctl, (int epoll, int operation, int file, struct epoll_event *event), epoll, operation, file, event)

/* Threads. */
static struct thread *new_thread(void) {
    struct thread *t = table;
    while (t < table + THREADS && t->used)
        t++;
    if (t == table + THREADS)
        STOP("more than %d threads\n", THREADS);
    highest += t == table + highest;
    *t = (struct thread){.used = true, .number = threads_made++, .idle = -1};
    return t;
}

static struct thread *thread_of(pthread_t handle) {
    for (struct thread *t = table; me && t < table + highest; t++)
        if (t->used && t->joinable && pthread_equal(t->handle, handle))
            return t;
    return NULL;
}

/* The last destructor that a thread runs: those of the program's thread-locals, which may take locks, came before. */
static void end(void *thread) {
    struct thread *self = thread;
    if (++self->rounds < PTHREAD_DESTRUCTOR_ITERATIONS) {
        pthread_setspecific(at_end, self);
        return;
    }
    self->ended = true;
    self->used = self->joinable;
    self->kind = END;
    wake_those_at(self, ALL, FUTEX_BITSET_MATCH_ANY);
    struct thread *next = choose();
    leaving = self->tid;
    me = NULL;
    give(next);
}

static void *begin(void *thread) {
    struct thread *self = thread;
    take(self);
    me = self;
    self->tid = gettid();
    pthread_setspecific(at_end, self);
    return self->start(self->argument);
}

int pthread_create(pthread_t *handle, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    LEAVE_UNLESS(me, pthread_create, handle, attributes, start, argument);
    int detached = PTHREAD_CREATE_JOINABLE;
    if (attributes)
        pthread_attr_getdetachstate(attributes, &detached);
    struct thread *t = new_thread();
    t->start = start;
    t->argument = argument;
    t->skew = me->skew;
    t->joinable = detached == PTHREAD_CREATE_JOINABLE;
    int error = REAL(pthread_create)(&t->handle, attributes, begin, t);
    t->used = error == 0;
    if (error)
        return error;
    *handle = t->handle;
    make_ready(t);
    return 0;
}

int pthread_join(pthread_t handle, void **result) {
    struct thread *t = thread_of(handle);
    LEAVE_UNLESS(t, pthread_join, handle, result);
    me->address = t;
    me->bits = FUTEX_BITSET_MATCH_ANY;
    if (!t->ended)
        wait_for(JOIN, queue_of(t), NEVER);
    t->used = false;
    return REAL(pthread_join)(handle, result);
}

int pthread_detach(pthread_t handle) {
    struct thread *t = thread_of(handle);
    if (t) {
        t->joinable = false;
        t->used = !t->ended;
    }
    return REAL(pthread_detach)(handle);
}

/* What else would be left to chance. */
ssize_t getrandom(void *to, size_t length, unsigned flags) {
    LEAVE_UNLESS(me, getrandom, to, length, flags);
    return fill(to, length);
}

int getentropy(void *to, size_t length) {
    LEAVE_UNLESS(me && length <= 256, getentropy, to, length);
    fill(to, length);
    return 0;
}

/* Files have numbers in the order in which they are seen, and no times: what the kernel gives is another thing in each run, and
 * programs hash and compare it. A number that the kernel gives again stands for the same file here, too. */
static struct { uint64_t device, inode; } *files;
static size_t files_seen, files_room;
static uint64_t *file_slots; /* twice the room, of indices + 1 */

static uint64_t file_slot(uint64_t device, uint64_t inode) {
    uint64_t at = (inode * 0x9e3779b97f4a7c15u ^ device) & (2 * files_room - 1);
    while (file_slots[at] && (files[file_slots[at] - 1].device != device || files[file_slots[at] - 1].inode != inode))
        at = (at + 1) & (2 * files_room - 1);
    return at;
}

static uint64_t number_of_file(uint64_t device, uint64_t inode) {
    if (files_seen == files_room) {
        files_room = files_room ? 2 * files_room : 1 << 12;
        files = realloc(files, files_room * sizeof *files);
        free(file_slots);
        file_slots = calloc(2 * files_room, sizeof *file_slots);
        if (!files || !file_slots)
            abort();
        for (size_t at = 0; at < files_seen; at++)
            file_slots[file_slot(files[at].device, files[at].inode)] = at + 1;
    }
    uint64_t slot = file_slot(device, inode);
    if (!file_slots[slot]) {
        files[files_seen].device = device;
        files[files_seen].inode = inode;
        file_slots[slot] = ++files_seen;
    }
    return file_slots[slot];
}

int statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict to) {
    LEAVE_UNLESS(me, statx, dir, path, flags, mask, to);
    int done = REAL(statx)(dir, path, flags, mask, to);
    if (done == 0) {
        to->stx_ino = number_of_file((uint64_t)to->stx_dev_major << 32 | to->stx_dev_minor, to->stx_ino);
        to->stx_dev_major = to->stx_dev_minor = 1;
        const struct statx_timestamp then = {.tv_sec = (int64_t)(wall / SECOND)};
        to->stx_mtime = to->stx_ctime = to->stx_atime = to->stx_btime = then;
    }
    return done;
}


int sched_getaffinity(pid_t process, size_t size, cpu_set_t *to) {
    LEAVE_UNLESS(me, sched_getaffinity, process, size, to);
    memset(to, 0, size);
    for (size_t i = 0; i < (size_t)processors; i++)
        CPU_SET_S(i, size, to);
    return 0;
}

long sysconf(int name) {
    LEAVE_UNLESS(me && (name == _SC_NPROCESSORS_ONLN || name == _SC_NPROCESSORS_CONF), sysconf, name);
    return processors;
}

/* For the program, which finds them by dlsym. The wall clock of this thread, and of those that it will start, is ahead of
 * the right one by so much (behind, if negative). */
void lockstep_skew(int64_t nanoseconds) {
    if (me)
        me->skew = nanoseconds;
}

/* So much time passes at once: what waits for a time in between wakes at its end, and once. For when all that could take note is
 * asleep for so long; threads that look for work every second would be woken every second. */
void lockstep_jump(uint64_t nanoseconds) {
    if (me)
        now = after(nanoseconds);
}

/* The monotonic clock in nanoseconds, which looking here does not move. */
uint64_t lockstep_now(void) { return now; }

/* A hash over who ran, after what wait and when, since the start: equal for equal runs; 0 without a seed. */
uint64_t lockstep_trace(void) { return trace; }

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    char *end;
    errno = 0;
    uint64_t value = text ? strtoull(text, &end, 10) : otherwise;
    if (text && (errno || end == text || *end))
        STOP("%s=%s is not a number\n", name, text);
    return value;
}

__attribute__((constructor)) static void set_up(int count, char **arguments, char **environment) {
    (void)count;
    if (!getenv("LOCKSTEP_SEED"))
        return;
    /* What is kept by its address would be in another order at each run. */
    int persona = personality(0xffffffff);
    if (!(persona & ADDR_NO_RANDOMIZE)) {
        if (personality((unsigned long)persona | ADDR_NO_RANDOMIZE) >= 0)
            execve("/proc/self/exe", arguments, environment);
        STOP("addresses stay random: %s (a container may forbid personality(2))\n", strerror(errno));
    }
    /* On one processor the baton goes from hand to hand in a fraction of the time that waking another one takes. By number of
     * the process, so that several runs beside each other share what processors there are. */
    cpu_set_t allowed, one;
    sched_getaffinity(0, sizeof allowed, &allowed);
    CPU_ZERO(&one);
    for (int cpu = 0, left = getpid() % CPU_COUNT(&allowed); left >= 0; cpu++)
        if (CPU_ISSET(cpu, &allowed) && left-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);

    const char *order = getenv("LOCKSTEP_ORDER");
    at_random = !order || strcmp(order, "random") == 0;
    if (!at_random && strcmp(order, "fifo") != 0)
        STOP("LOCKSTEP_ORDER=%s is neither random nor fifo\n", order);
    order_state = number("LOCKSTEP_SEED", 0);
    random_state = ~order_state;
    processors = (int)number("LOCKSTEP_CPUS", 2);
    wall = number("LOCKSTEP_START", 1767225600) * SECOND;
    pthread_key_create(&at_end, end);
    me = new_thread();
}

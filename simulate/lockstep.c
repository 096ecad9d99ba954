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
 * LOCKSTEP_CPUS   how many processors the program sees (default 2).
 *
 * The thread that runs holds the baton. It gives it away only where it would wait in the kernel or where it yields; all that
 * is below is therefore used by one thread at a time, and needs no locks. Threads that wait in C code for a lock of pthreads
 * (not one of std or parking_lot) are not seen, nor are blocking reads: they would stop everybody. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))
/* The next definition of the function, libc's, found at its first use: constructors of other libraries may come before ours. */
#define REAL(name) \
    ({ \
        static __typeof__(&name) real; \
        if (!real) \
            real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        real; \
    })

enum { THREADS = 8192, QUEUES = 256 };
static const uint64_t SECOND = 1000000000, NEVER = UINT64_MAX;
/* What looking at a clock or yielding costs: who does so until a time has come does not do so for ever. */
static const uint64_t LOOK = 20;

enum wait { RUNS, FUTEX, EPOLL, POLL, SLEEP, JOIN, YIELD, END };
static const char *const WAITS[] = {"runs", "futex", "epoll", "poll", "sleep", "join", "yield", "end"};
enum { TIMED_OUT = -1, WOKEN = 0 };

struct queue {
    struct thread *first, *last;
};

struct thread {
    uint32_t baton; /* a futex of the kernel: 1 once it is this thread's turn */
    uint32_t number;
    bool used, joinable, ended;
    pid_t tid;
    pthread_t handle;
    void *(*start)(void *);
    void *argument;
    int64_t skew;
    int rounds; /* of thread-specific destructors so far */

    enum wait kind;
    const void *address; /* of the futex, or the thread that is joined */
    uint32_t bits;
    int epoll, room;
    struct epoll_event *events;
    struct pollfd *files;
    nfds_t count;
    int result;
    struct queue *queue;
    struct thread *before, *after;
    uint64_t deadline;
    uint32_t place; /* in the heap of deadlines, from 1; 0 is none */

    int idle;         /* an epoll descriptor that had nothing … */
    uint64_t idle_at; /* … when there had been so many changes */
};

static struct thread table[THREADS];
static uint32_t highest, threads_made; /* slots of the table ever used */
static __thread struct thread *me __attribute__((tls_model("initial-exec")));
static bool at_random = true;
static int processors = 2;
static uint64_t now, wall, order_state, random_state, trace;
static const uint64_t BOOT = 1000000000000; /* the monotonic clock at the start */

static struct queue futexes[QUEUES], descriptors;
static struct thread *ready[THREADS]; /* a ring */
static uint32_t ready_first, ready_count;
static struct thread *heap[THREADS + 1];
static uint32_t heap_count;
/* Descriptors become ready only by what this process does to one: without a change since, none needs to be looked at. */
static uint64_t changes = 1, changes_seen;
/* A thread that is at its end and gave the baton away, until the kernel, too, is done with it. */
static pid_t leaving;
static pthread_key_t at_end;

static __attribute__((noreturn, format(printf, 1, 2))) void stop(const char *why, ...) {
    va_list arguments;
    va_start(arguments, why);
    vdprintf(2, why, arguments);
    va_end(arguments);
    _exit(70);
}

/* Randomness (splitmix64): two streams, so that how much a program draws does not change in which order it runs. */
static uint64_t draw(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void fill(void *buffer, size_t length) {
    for (uint8_t *at = buffer; length > 0;) {
        uint64_t word = draw(&random_state);
        size_t part = length < sizeof word ? length : sizeof word;
        memcpy(at, &word, part);
        at += part;
        length -= part;
    }
}

/* Who waits where. */
static void append(struct queue *queue, struct thread *t) {
    t->queue = queue;
    t->before = queue->last;
    t->after = NULL;
    *(queue->last ? &queue->last->after : &queue->first) = t;
    queue->last = t;
}

static void take_out(struct thread *t) {
    *(t->before ? &t->before->after : &t->queue->first) = t->after;
    *(t->after ? &t->after->before : &t->queue->last) = t->before;
    t->queue = NULL;
}

static struct queue *queue_of(const void *address) {
    return &futexes[((uintptr_t)address * 0x9e3779b97f4a7c15) >> 56];
}

static void heap_put(struct thread *t, uint32_t place) {
    heap[place] = t;
    t->place = place;
}

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

static void heap_remove(struct thread *t) {
    uint32_t place = t->place;
    struct thread *last = heap[heap_count--];
    t->place = 0;
    if (last != t)
        heap_settle(last, place);
}

static void make_ready(struct thread *t) {
    ready[(ready_first + ready_count++) % THREADS] = t;
}

static void wake(struct thread *t, int result) {
    if (t->queue)
        take_out(t);
    if (t->place)
        heap_remove(t);
    t->result = result;
    make_ready(t);
}

static int wake_those_at(const void *address, int most, uint32_t bits) {
    int woken = 0;
    for (struct thread *t = queue_of(address)->first, *after; t && woken < most; t = after) {
        after = t->after;
        if (t->address == address && (t->bits & bits)) {
            wake(t, WOKEN);
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

static void look_at_descriptors(void) {
    changes_seen = changes;
    for (struct thread *t = descriptors.first, *after; t; t = after) {
        after = t->after;
        int n = look_at(t);
        if (n != 0)
            wake(t, n);
    }
}

static __attribute__((noreturn)) void all_wait(void) {
    dprintf(2, "lockstep: everybody waits for ever\n");
    for (uint32_t i = 0; i < highest; i++) {
        struct thread *t = &table[i];
        if (t->used && t->kind == EPOLL)
            dprintf(2, "  thread %u: epoll, descriptor %d\n", t->number, t->epoll);
        else if (t->used && t->kind == JOIN)
            dprintf(2, "  thread %u: join, thread %u\n", t->number, ((struct thread *)t->address)->number);
        else if (t->used && !t->ended)
            dprintf(2, "  thread %u: %s, %p\n", t->number, WAITS[t->kind], t->address);
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
        look_at_descriptors();
        if (!ready_count)
            all_wait();
    }
    struct thread **first = &ready[ready_first], *chosen = *first;
    if (at_random && ready_count > 1) {
        struct thread **other = &ready[(ready_first + ((draw(&order_state) >> 32) * ready_count >> 32)) % THREADS];
        chosen = *other;
        *other = *first;
    }
    ready_first = (ready_first + 1) % THREADS;
    ready_count--;
    trace = (trace ^ now ^ (uint64_t)chosen->number << 48 ^ (uint64_t)chosen->kind << 44) * 0x9e3779b97f4a7c15;
    trace ^= trace >> 29;
    chosen->kind = RUNS;
    return chosen;
}

static void give(struct thread *next) {
    __atomic_store_n(&next->baton, 1, __ATOMIC_RELEASE);
    REAL(syscall)(SYS_futex, &next->baton, FUTEX_WAKE_PRIVATE, 1);
}

static void take(struct thread *self) {
    while (!__atomic_load_n(&self->baton, __ATOMIC_ACQUIRE))
        REAL(syscall)(SYS_futex, &self->baton, FUTEX_WAIT_PRIVATE, 0, NULL);
    self->baton = 0;
    /* What libc does at a thread's end, its stack and heap are others' afterwards, would run beside us: which addresses the
     * next allocations get would be left to chance. */
    while (leaving && REAL(syscall)(SYS_tgkill, getpid(), leaving, 0) == 0)
        REAL(sched_yield)();
    leaving = 0;
}

static void reschedule(void) {
    struct thread *self = me, *next = choose();
    if (next != self) {
        give(next);
        take(self);
    }
}

/* Waits: in the queue, if any, until somebody wakes it or the deadline is there. What woke it, TIMED_OUT or a number of events. */
static int wait_for(enum wait kind, struct queue *queue, uint64_t deadline) {
    int error = errno;
    me->kind = kind;
    me->deadline = deadline;
    if (queue)
        append(queue, me);
    if (deadline != NEVER) {
        heap_count++;
        heap_settle(me, heap_count);
    }
    reschedule();
    errno = error;
    return me->result;
}

static void yield(void) {
    int error = errno;
    now += LOOK;
    me->kind = YIELD;
    make_ready(me);
    reschedule();
    errno = error;
}

/* Time. */
static uint64_t after_now(uint64_t nanoseconds) {
    return nanoseconds > NEVER - now ? NEVER : now + nanoseconds;
}

static bool is_time(const struct timespec *time) {
    return time->tv_sec >= 0 && time->tv_nsec >= 0 && (uint64_t)time->tv_nsec < SECOND;
}

static uint64_t nanoseconds(const struct timespec *time) {
    uint64_t seconds = (uint64_t)time->tv_sec;
    return seconds >= INT64_MAX / SECOND ? NEVER : seconds * SECOND + (uint64_t)time->tv_nsec;
}

static uint64_t wall_ahead(void) {
    return wall - BOOT + (uint64_t)me->skew;
}

static bool is_wall(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

static bool is_steady(clockid_t clock) {
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_BOOTTIME;
}

static uint64_t deadline_of(const struct timespec *time, bool of_wall) {
    uint64_t at = nanoseconds(time);
    if (at == NEVER || !of_wall)
        return at;
    int64_t steady = (int64_t)(at - wall_ahead());
    return steady < 0 ? 0 : (uint64_t)steady;
}

static struct timespec look(bool at_wall) {
    now += LOOK;
    uint64_t at = at_wall ? now + wall_ahead() : now;
    return (struct timespec){.tv_sec = (time_t)(at / SECOND), .tv_nsec = (long)(at % SECOND)};
}

PUBLIC int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!me || (!is_wall(clock) && !is_steady(clock)))
        return REAL(clock_gettime)(clock, time);
    *time = look(is_wall(clock));
    return 0;
}

PUBLIC int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    if (!me)
        return REAL(gettimeofday)(time, zone);
    struct timespec at = look(true);
    *time = (struct timeval){.tv_sec = at.tv_sec, .tv_usec = at.tv_nsec / 1000};
    return 0;
}

PUBLIC time_t time(time_t *time_) {
    if (!me)
        return REAL(time)(time_);
    time_t at = look(true).tv_sec;
    if (time_)
        *time_ = at;
    return at;
}

PUBLIC int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *rest) {
    if (!me || (!is_wall(clock) && !is_steady(clock)))
        return REAL(clock_nanosleep)(clock, flags, time, rest);
    if (!is_time(time))
        return EINVAL;
    bool absolute = flags & TIMER_ABSTIME;
    wait_for(SLEEP, NULL, absolute ? deadline_of(time, is_wall(clock)) : after_now(nanoseconds(time)));
    return 0;
}

PUBLIC int nanosleep(const struct timespec *time, struct timespec *rest) {
    if (!me)
        return REAL(nanosleep)(time, rest);
    int error = clock_nanosleep(CLOCK_MONOTONIC, 0, time, rest);
    if (error)
        errno = error;
    return error ? -1 : 0;
}

PUBLIC int usleep(useconds_t microseconds) {
    if (!me)
        return REAL(usleep)(microseconds);
    wait_for(SLEEP, NULL, after_now((uint64_t)microseconds * 1000));
    return 0;
}

PUBLIC unsigned sleep(unsigned seconds) {
    if (!me)
        return REAL(sleep)(seconds);
    wait_for(SLEEP, NULL, after_now(seconds * SECOND));
    return 0;
}

PUBLIC int sched_yield(void) {
    if (!me)
        return REAL(sched_yield)();
    yield();
    return 0;
}

/* Futexes are decided here: their values are in this process, and nobody changes them while we look. */
static long futex_wait(const uint32_t *address, uint32_t expected, uint64_t deadline, uint32_t bits) {
    errno = EAGAIN;
    if (__atomic_load_n(address, __ATOMIC_SEQ_CST) != expected)
        return -1;
    me->address = address;
    me->bits = bits;
    errno = ETIMEDOUT;
    return wait_for(FUTEX, queue_of(address), deadline);
}

static long futex(const uint32_t *address, int operation, uint32_t value, const struct timespec *time, uint32_t bits) {
    int command = operation & FUTEX_CMD_MASK;
    bool waits = command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
    if (command == FUTEX_WAIT || command == FUTEX_WAKE)
        bits = FUTEX_BITSET_MATCH_ANY;
    else if (command != FUTEX_WAIT_BITSET && command != FUTEX_WAKE_BITSET)
        stop("lockstep: futex operation %d is not known here\n", operation);
    errno = EINVAL;
    if (bits == 0 || (waits && time && !is_time(time)))
        return -1;
    if (!waits)
        return wake_those_at(address, (int)value < 1 ? 1 : (int)value, bits);
    uint64_t deadline = NEVER;
    if (time)
        deadline = command == FUTEX_WAIT ? after_now(nanoseconds(time)) : deadline_of(time, operation & FUTEX_CLOCK_REALTIME);
    return futex_wait(address, value, deadline, bits);
}

PUBLIC long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a[6];
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (me && number == SYS_futex)
        return futex((const uint32_t *)a[0], (int)a[1], (uint32_t)a[2], (const struct timespec *)a[3], (uint32_t)a[5]);
    if (me && number == SYS_getrandom) {
        fill((void *)a[0], (size_t)a[1]);
        return a[1];
    }
    if (me && number == SYS_clock_gettime)
        return clock_gettime((clockid_t)a[0], (struct timespec *)a[1]);
    if (me && number == SYS_sched_yield)
        return sched_yield();
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Descriptors. */
static int wait_for_descriptors(enum wait kind, uint64_t deadline) {
    me->kind = kind;
    bool idle = kind == EPOLL && me->idle == me->epoll && me->idle_at == changes;
    if (deadline <= now) {
        yield();
        idle = false;
        me->kind = kind;
    }
    int n = idle ? 0 : look_at(me);
    if (n == 0 && deadline > now) {
        n = wait_for(kind, &descriptors, deadline);
        n = n == TIMED_OUT ? 0 : n;
    }
    me->kind = RUNS;
    if (n < 0)
        errno = -n;
    return n < 0 ? -1 : n;
}

PUBLIC int epoll_wait(int epoll, struct epoll_event *events, int room, int milliseconds) {
    if (!me)
        return REAL(epoll_wait)(epoll, events, room, milliseconds);
    me->epoll = epoll;
    me->events = events;
    me->room = room;
    return wait_for_descriptors(EPOLL, milliseconds < 0 ? NEVER : after_now((uint64_t)milliseconds * 1000000));
}

PUBLIC int epoll_pwait(int epoll, struct epoll_event *events, int room, int milliseconds, const sigset_t *signals) {
    return me ? epoll_wait(epoll, events, room, milliseconds) : REAL(epoll_pwait)(epoll, events, room, milliseconds, signals);
}

static int wait_for_files(struct pollfd *files, nfds_t count, uint64_t deadline) {
    me->files = files;
    me->count = count;
    return wait_for_descriptors(POLL, deadline);
}

PUBLIC int poll(struct pollfd *files, nfds_t count, int milliseconds) {
    if (!me)
        return REAL(poll)(files, count, milliseconds);
    return wait_for_files(files, count, milliseconds < 0 ? NEVER : after_now((uint64_t)milliseconds * 1000000));
}

PUBLIC int ppoll(struct pollfd *files, nfds_t count, const struct timespec *time, const sigset_t *signals) {
    if (!me)
        return REAL(ppoll)(files, count, time, signals);
    return wait_for_files(files, count, time ? after_now(nanoseconds(time)) : NEVER);
}

/* All by which a descriptor can become ready for somebody: reading makes room for the other end's writing. */
#define CHANGE(type, name, parameters, ...) \
    PUBLIC type name parameters { \
        if (me) \
            changes++; \
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
        stop("lockstep: more than %d threads\n", THREADS);
    if (t == table + highest)
        highest++;
    *t = (struct thread){.used = true, .number = threads_made++, .idle = -1};
    return t;
}

static struct thread *thread_of(pthread_t handle) {
    for (struct thread *t = table; t < table + highest; t++)
        if (t->used && t->joinable && pthread_equal(t->handle, handle))
            return t;
    return NULL;
}

/* A destructor of the last round there is: those of the program's thread-locals, which may take locks, came before. */
static void end(void *thread) {
    struct thread *self = thread;
    if (++self->rounds < PTHREAD_DESTRUCTOR_ITERATIONS) {
        pthread_setspecific(at_end, self);
        return;
    }
    self->ended = true;
    self->used = self->joinable;
    self->kind = END;
    wake_those_at(self, INT32_MAX, FUTEX_BITSET_MATCH_ANY);
    struct thread *next = choose();
    leaving = self->tid;
    me = NULL;
    give(next);
}

static void *begin(void *thread) {
    struct thread *self = thread;
    take(self);
    me = self;
    self->tid = (pid_t)REAL(syscall)(SYS_gettid);
    pthread_setspecific(at_end, self);
    return self->start(self->argument);
}

PUBLIC int pthread_create(pthread_t *handle, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    if (!me)
        return REAL(pthread_create)(handle, attributes, start, argument);
    int detached = PTHREAD_CREATE_JOINABLE;
    if (attributes)
        pthread_attr_getdetachstate(attributes, &detached);
    struct thread *t = new_thread();
    t->start = start;
    t->argument = argument;
    t->skew = me->skew;
    t->joinable = detached == PTHREAD_CREATE_JOINABLE;
    int error = REAL(pthread_create)(&t->handle, attributes, begin, t);
    t->used = !error;
    if (error)
        return error;
    *handle = t->handle;
    make_ready(t);
    return 0;
}

PUBLIC int pthread_join(pthread_t handle, void **result) {
    struct thread *t = me ? thread_of(handle) : NULL;
    if (!t)
        return REAL(pthread_join)(handle, result);
    me->address = t;
    me->bits = FUTEX_BITSET_MATCH_ANY;
    if (!t->ended)
        wait_for(JOIN, queue_of(t), NEVER);
    t->used = false;
    return REAL(pthread_join)(handle, result);
}

PUBLIC int pthread_detach(pthread_t handle) {
    struct thread *t = me ? thread_of(handle) : NULL;
    if (t) {
        t->joinable = false;
        t->used = !t->ended;
    }
    return REAL(pthread_detach)(handle);
}

/* What else is left to chance. */
PUBLIC ssize_t getrandom(void *buffer, size_t length, unsigned flags) {
    if (!me)
        return REAL(getrandom)(buffer, length, flags);
    fill(buffer, length);
    return (ssize_t)length;
}

PUBLIC int getentropy(void *buffer, size_t length) {
    if (!me || length > 256)
        return REAL(getentropy)(buffer, length);
    fill(buffer, length);
    return 0;
}

PUBLIC int sched_getaffinity(pid_t process, size_t size, cpu_set_t *set) {
    if (!me)
        return REAL(sched_getaffinity)(process, size, set);
    memset(set, 0, size);
    for (int i = 0; i < processors; i++)
        CPU_SET_S((size_t)i, size, set);
    return 0;
}

PUBLIC long sysconf(int name) {
    return me && (name == _SC_NPROCESSORS_ONLN || name == _SC_NPROCESSORS_CONF) ? processors : REAL(sysconf)(name);
}

/* For the program, which finds them by dlsym. */

/* Sets the wall clock of this thread, and of those that it will start, ahead of the others' (behind, if negative). */
PUBLIC void lockstep_skew(int64_t nanoseconds) {
    if (me)
        me->skew = nanoseconds;
}

/* The monotonic clock in nanoseconds, which looking here does not move; 0 without a seed. */
PUBLIC uint64_t lockstep_now(void) {
    return me ? now : 0;
}

/* A hash over who ran when and why since the start: equal for equal runs. */
PUBLIC uint64_t lockstep_trace(void) {
    return trace;
}

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    if (!text)
        return otherwise;
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || end == text || *end)
        stop("lockstep: %s=%s is not a number\n", name, text);
    return value;
}

__attribute__((constructor)) static void set_up(int count, char **arguments, char **environment) {
    (void)count;
    if (!getenv("LOCKSTEP_SEED"))
        return;
    /* What is keyed by addresses would be in another order at each run. */
    int persona = personality(0xffffffff);
    if (!(persona & ADDR_NO_RANDOMIZE)) {
        if (personality((unsigned long)persona | ADDR_NO_RANDOMIZE) >= 0)
            execve("/proc/self/exe", arguments, environment);
        stop("lockstep: addresses stay random: %s (a container may forbid personality(2))\n", strerror(errno));
    }
    const char *order = getenv("LOCKSTEP_ORDER");
    at_random = !order || strcmp(order, "fifo") != 0;
    if (order && at_random && strcmp(order, "random") != 0)
        stop("lockstep: LOCKSTEP_ORDER=%s is neither random nor fifo\n", order);
    order_state = number("LOCKSTEP_SEED", 0);
    random_state = ~order_state;
    processors = (int)number("LOCKSTEP_CPUS", 2);
    wall = number("LOCKSTEP_START", 1767225600) * SECOND;
    now = BOOT;
    pthread_key_create(&at_end, end);
    me = new_thread();
    me->tid = getpid();
    me->handle = pthread_self();
}

// Preloaded: threads run one at a time, and in the same order each time. One goes on until it yields, naps, waits for
// another's end, or ends; then it is the next one's turn. So what several threads do is counted as exactly as what one does.
// Not for programs whose threads wait for each other in other ways.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

enum { THREADS_MAX = 64 };

static struct thread {
  pthread_t id;
  void *(*body)(void *);
  void *argument, *result;
  struct thread *joiner;
  bool alive;   // it gets turns: has not ended, and waits for no other's end
  bool joined;  // the place may be used again
  sem_t turn;
} threads[THREADS_MAX];
static __thread struct thread *self;
static struct thread *ending;  // its destructors may still run

static int (*next_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static int (*next_join)(pthread_t, void **);

__attribute__((constructor)) static void begin(void) {
  *(void **)&next_create = dlsym(RTLD_NEXT, "pthread_create");
  *(void **)&next_join = dlsym(RTLD_NEXT, "pthread_join");
  for (int i = 0; i < THREADS_MAX; i++) {
    threads[i].joined = true;
    sem_init(&threads[i].turn, 0, 0);
  }
  self = &threads[0];
  self->alive = true;
  self->joined = false;
}

static void wait_for_turn(void) {
  while (sem_wait(&self->turn) != 0) continue;
  if (ending == NULL) return;
  next_join(ending->id, &ending->result);
  ending = NULL;
}

// To the next in the order of places, which may be oneself.
static void give_turn(void) {
  struct thread *next = self;
  do next = next == &threads[THREADS_MAX - 1] ? threads : next + 1;
  while (!next->alive);
  sem_post(&next->turn);
}

int sched_yield(void) {
  give_turn();
  wait_for_turn();
  return 0;
}

int nanosleep(const struct timespec *time, struct timespec *rest) {
  (void)time, (void)rest;
  return sched_yield();
}

static void *run(void *argument) {
  self = argument;
  wait_for_turn();
  void *result = self->body(self->argument);
  if (self->joiner != NULL) self->joiner->alive = true;
  self->alive = false;
  ending = self;
  give_turn();
  return result;
}

int pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
  struct thread *thread = threads;
  while (!thread->joined) {
    if (++thread == &threads[THREADS_MAX]) abort();
  }
  thread->body = body;
  thread->argument = argument;
  thread->joiner = NULL;
  int error = next_create(&thread->id, attributes, run, thread);
  if (error != 0) return error;
  *id = thread->id;
  thread->alive = true;
  thread->joined = false;
  return 0;
}

int pthread_join(pthread_t id, void **result) {
  struct thread *thread = threads;
  while (thread->joined || !pthread_equal(thread->id, id)) thread++;
  if (thread->alive) {
    thread->joiner = self;
    self->alive = false;
    sched_yield();
  }
  if (result != NULL) *result = thread->result;
  thread->joined = true;
  return 0;
}

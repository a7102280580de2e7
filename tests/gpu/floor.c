// The floor: the least that a CUPTI client can do. Counts the records of kernels and copies, keeps nothing. Loaded by
// CUDA_INJECTION64_PATH; prints the count to the file that FLOOR_OUT names when the process ends.
#include <cupti.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static unsigned long long kernels;

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void requested(uint8_t **buffer, size_t *size, size_t *most) {
  *size = 1 << 20;
  *most = 0;
  if (posix_memalign((void **)buffer, 8, *size)) *buffer = NULL, *size = 0;
}

static void completed(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t used) {
  (void)context, (void)stream, (void)size;
  CUpti_Activity *record = NULL;
  while (cuptiActivityGetNextRecord(buffer, used, &record) == CUPTI_SUCCESS)
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) __atomic_fetch_add(&kernels, 1, __ATOMIC_RELAXED);
  free(buffer);
}

static void *flusher(void *nothing) {
  for (;;) {
    usleep(100000);
    cuptiActivityFlushAll(0);
  }
  return nothing;
}

static void end(void) {
  cuptiActivityFlushAll(1);
  const char *path = getenv("FLOOR_OUT");
  FILE *out = path ? fopen(path, "w") : NULL;
  if (out) fprintf(out, "%llu\n", kernels), fclose(out);
}

int InitializeInjection(void) {
  pthread_t thread;
  cuptiActivityRegisterTimestampCallback(now);
  cuptiActivityRegisterCallbacks(requested, completed);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY2);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMSET);
  pthread_create(&thread, NULL, flusher, NULL);
  pthread_detach(thread);
  atexit(end);
  return 1;
}

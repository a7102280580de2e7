// Keeps the GPU's queue full until it is killed: kernels like those of a prefill of 8192 tokens behind 60,000, layer by layer,
// always 8 layers ahead, as a serving engine launches a chunk.
// usage: ahead SHORT LONG   ns of the 12 short kernels and of the long one (attention) of a layer
#include <cstdio>
#include <cstdlib>

#define CHECK(call)                                                                                                    \
  do {                                                                                                                 \
    cudaError_t status = (call);                                                                                       \
    if (status != cudaSuccess) {                                                                                       \
      fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(status));                                                  \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

__global__ void spin(long long ns) {
  long long start, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - start < ns);
}

int main(int argc, char **argv) {
  const long long shorter = argc > 1 ? atoll(argv[1]) : 350000, longer = argc > 2 ? atoll(argv[2]) : 12700000;
  const int ahead = 8;
  cudaEvent_t layers[ahead];
  for (int i = 0; i < ahead; i++) CHECK(cudaEventCreateWithFlags(&layers[i], cudaEventDisableTiming));
  for (long layer = 0;; layer++) {
    // The layer that was launched `ahead` layers ago.
    if (layer >= ahead) CHECK(cudaEventSynchronize(layers[layer % ahead]));
    for (int i = 0; i < 12; i++) spin<<<1, 32>>>(shorter);
    spin<<<1, 32>>>(longer);
    CHECK(cudaGetLastError());
    CHECK(cudaEventRecord(layers[layer % ahead]));
  }
}

// Kernels of about 1 us, launched one by one and as CUDA graphs, and copies of 64 KiB within the device, each with an event,
// as UCX makes them. Prints "eager NS graph NS copy NS steady NS", ns a kernel or copy.
// usage: small_kernels N [LONG]   N a multiple of 1000, the kernels of a graph; three unmeasured rounds come first.
// `steady` is LONG times N kernels in graphs at a stretch [1]: the first launch, which fills the pipeline, is small beside them.
#include <cstdio>
#include <cstdlib>
#include <ctime>

#define CHECK(call)                                                                                                    \
  do {                                                                                                                 \
    cudaError_t status = (call);                                                                                       \
    if (status != cudaSuccess) {                                                                                       \
      fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(status));                                                  \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

__global__ void small_kernel(float *x) { x[threadIdx.x] += 1.0f; }

static double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv) {
  const int count = argc > 1 ? atoi(argv[1]) : 20000, nodes = 1000, warm = 3, stretch = argc > 2 ? atoi(argv[2]) : 1;
  float *x;
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  char *blocks;
  CHECK(cudaMalloc(&x, 4096));
  // A tracer that attaches once there is a context has done so by then.
  timespec pause = {0, 300000000};
  nanosleep(&pause, nullptr);
  CHECK(cudaStreamCreate(&stream));
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < nodes; i++) small_kernel<<<1, 32, 0, stream>>>(x);
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphInstantiate(&exec, graph, 0));
  const size_t block = 65536;
  cudaEvent_t event;
  CHECK(cudaMalloc(&blocks, 2 * block));
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  double eager = 0, graphs = 0, copies = 0, steady = 0;
  for (int round = 0; round <= warm; round++) {
    double start = now();
    for (int i = 0; i < count; i++) small_kernel<<<1, 32, 0, stream>>>(x);
    CHECK(cudaStreamSynchronize(stream));
    eager = (now() - start) / count;
    start = now();
    for (int i = 0; i < count / nodes; i++) CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaStreamSynchronize(stream));
    graphs = (now() - start) / count;
    start = now();
    for (int i = 0; i < stretch * count / nodes; i++) CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaStreamSynchronize(stream));
    steady = (now() - start) / stretch / count;
    start = now();
    for (int i = 0; i < count; i++) {
      CHECK(cudaMemcpyAsync(blocks, blocks + block, block, cudaMemcpyDeviceToDevice, stream));
      CHECK(cudaEventRecord(event, stream));
    }
    CHECK(cudaStreamSynchronize(stream));
    copies = (now() - start) / count;
  }
  CHECK(cudaMemset(x, 0, 4096));
  CHECK(cudaStreamSynchronize(stream));
  // What is complete is flushed within 100 ms.
  nanosleep(&pause, nullptr);
  printf("eager %.0f graph %.0f copy %.0f steady %.0f\n", eager, graphs, copies, steady);
  return 0;
}

// Kernels of about 1 us, launched one by one and as CUDA graphs; prints "eager NS graph NS", ns a kernel.
// usage: small_kernels N [NODES]   N a multiple of NODES, the kernels of a graph [1000]; three unmeasured rounds come first
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
  const int count = argc > 1 ? atoi(argv[1]) : 20000, nodes = argc > 2 ? atoi(argv[2]) : 1000, warm = 3;
  float *x;
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CHECK(cudaMalloc(&x, 4096));
  // A tracer that attaches once there is a context has done so by then.
  timespec pause = {0, 300000000};
  nanosleep(&pause, nullptr);
  CHECK(cudaStreamCreate(&stream));
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < nodes; i++) small_kernel<<<1, 32, 0, stream>>>(x);
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphInstantiate(&exec, graph, 0));
  double eager = 0, graphs = 0;
  for (int round = 0; round <= warm; round++) {
    double start = now();
    for (int i = 0; i < count; i++) small_kernel<<<1, 32, 0, stream>>>(x);
    CHECK(cudaStreamSynchronize(stream));
    eager = (now() - start) / count;
    start = now();
    for (int i = 0; i < count / nodes; i++) CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaStreamSynchronize(stream));
    graphs = (now() - start) / count;
  }
  CHECK(cudaMemset(x, 0, 4096));
  CHECK(cudaStreamSynchronize(stream));
  // What is complete is flushed within 100 ms.
  nanosleep(&pause, nullptr);
  printf("eager %.0f graph %.0f\n", eager, graphs);
  return 0;
}

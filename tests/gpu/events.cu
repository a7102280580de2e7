// Copies to a second GPU (or within the first) and records an event behind each, as UCX's cuda_ipc transport does: events from a
// pool that is made as it grows, queried until they are done. Several threads, for some seconds, whatever is being recorded.
//
// usage: events SECONDS THREADS COPIES_IN_FLIGHT      prints how many copies were made; any error ends it with 1
#include <cuda.h>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#define CHECK(call)                                                        \
    do {                                                                   \
        CUresult status = (call);                                          \
        if (status != CUDA_SUCCESS) {                                      \
            std::fprintf(stderr, "%s: %d\n", #call, static_cast<int>(status)); \
            std::exit(1);                                                  \
        }                                                                  \
    } while (0)

int main(int, char** argv) {
    const int seconds = std::atoi(argv[1]), threads = std::atoi(argv[2]), in_flight = std::atoi(argv[3]);
    CHECK(cuInit(0));
    int devices = 0;
    CHECK(cuDeviceGetCount(&devices));
    CUcontext context[2];
    CUdeviceptr memory[2];
    const size_t bytes = 64 << 10;
    for (int i = 0; i < 2; ++i) {
        CUdevice device;
        CHECK(cuDeviceGet(&device, i < devices ? i : 0));
        CHECK(cuDevicePrimaryCtxRetain(&context[i], device));
        CHECK(cuCtxSetCurrent(context[i]));
        CHECK(cuMemAlloc(&memory[i], bytes * threads));
    }
    CHECK(cuCtxSetCurrent(context[0]));
    if (context[0] != context[1]) CHECK(cuCtxEnablePeerAccess(context[1], 0));
    std::atomic<long> made{0};
    std::atomic<bool> over{false};
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t) {
        all.emplace_back([&, t] {
            CHECK(cuCtxSetCurrent(context[0]));
            CUstream stream;
            CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
            std::vector<CUevent> pool, used;
            while (!over) {
                for (int i = 0; i < in_flight; ++i) {
                    CUevent event;
                    if (pool.empty()) {
                        CHECK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
                    } else {
                        event = pool.back();
                        pool.pop_back();
                    }
                    CHECK(cuMemcpyDtoDAsync(memory[1] + bytes * t, memory[0] + bytes * t, bytes, stream));
                    CHECK(cuEventRecord(event, stream));
                    used.push_back(event);
                    ++made;
                }
                for (CUevent event : used) {
                    CUresult status;
                    while ((status = cuEventQuery(event)) == CUDA_ERROR_NOT_READY) {
                    }
                    CHECK(status);
                }
                pool.insert(pool.end(), used.begin(), used.end());
                used.clear();
                std::this_thread::sleep_for(std::chrono::milliseconds(2));
            }
        });
    }
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
    over = true;
    for (std::thread& thread : all) thread.join();
    std::printf("%ld copies\n", made.load());
    return 0;
}

// What a GPU worker computes besides matrix products. Every parameter is 8 bytes: ffi.rs relies on it and checks it.
// Vectors are 8 values of bf16 (16 bytes): all widths and pitches are multiples of 8. Blocks have THREADS threads.

typedef unsigned long long u64;
typedef unsigned short bf16;

#define THREADS 256
// Vectors of one row that a thread of `softmax` keeps: rows have up to 8 * THREADS * KEPT = 8192 keys.
#define KEPT 4

struct Block {
    u64 offset;  // in the region, bytes
    u64 words;   // size, words of 8 bytes
    u64 seed;
};

struct Values {
    float at[8];
};

// splitmix64.
__device__ u64 mix(u64 x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

__device__ bf16 rounded(float x) {
    unsigned bits = __float_as_uint(x);
    return (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

__device__ Values unpacked(uint4 packed) {
    unsigned words[4] = {packed.x, packed.y, packed.z, packed.w};
    Values values;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        values.at[2 * i] = __uint_as_float(words[i] << 16);
        values.at[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
    return values;
}

__device__ uint4 packed(Values values) {
    unsigned words[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        words[i] = (unsigned)rounded(values.at[2 * i]) | (unsigned)rounded(values.at[2 * i + 1]) << 16;
    return make_uint4(words[0], words[1], words[2], words[3]);
}

__device__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ float sum(float a, float b) { return a + b; }

// Reduces over all threads of the block; all get the result. `neutral` is that of the operation.
template <float (*JOIN)(float, float)>
__device__ float reduced(float value, float neutral) {
    __shared__ float warps[THREADS / 32];
    for (int step = 16; step > 0; step /= 2) value = JOIN(value, __shfl_xor_sync(0xffffffffu, value, step));
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    value = neutral;
    for (int warp = 0; warp < THREADS / 32; warp++) value = JOIN(value, warps[warp]);
    __syncthreads();
    return value;
}

// Values spread evenly over [-scale, scale).
__device__ void spread(bf16 *to, u64 count, u64 seed, double scale) {
    u64 start = mix(seed);
    for (u64 i = blockIdx.x * (u64)THREADS + threadIdx.x; i < count; i += (u64)gridDim.x * THREADS)
        to[i] = rounded((float)((double)(mix(start + i) >> 40) * (2.0 / (1 << 24)) - 1.0) * (float)scale);
}

// The activations that enter the first layer.
extern "C" __global__ void embed(bf16 *to, u64 count, u64 seed, double scale) { spread(to, count, seed, scale); }

// Weights, and keys and values of earlier tokens.
extern "C" __global__ void init_weights(bf16 *to, u64 count, u64 seed, double scale) { spread(to, count, seed, scale); }

// Divides a row of `width` by the root of its mean square. One block a row.
extern "C" __global__ void rms_norm(const bf16 *from, bf16 *to, u64 width) {
    const uint4 *row = (const uint4 *)(from + blockIdx.x * width);
    uint4 *out = (uint4 *)(to + blockIdx.x * width);
    float squares = 0.0f;
    for (u64 i = threadIdx.x; i < width / 8; i += THREADS) {
        Values values = unpacked(row[i]);
#pragma unroll
        for (int lane = 0; lane < 8; lane++) squares += values.at[lane] * values.at[lane];
    }
    float scale = rsqrtf(reduced<sum>(squares, 0.0f) / (float)width + 1e-5f);
    for (u64 i = threadIdx.x; i < width / 8; i += THREADS) {
        Values values = unpacked(row[i]);
#pragma unroll
        for (int lane = 0; lane < 8; lane++) values.at[lane] *= scale;
        out[i] = packed(values);
    }
}

// Scores of `keys` keys become weights that sum to 1, in place. Rows are `pitch` apart, of `rows` rows a head; one block a
// row (x) and head (y). If `causal`, row r sees keys 0 to r.
extern "C" __global__ void softmax(bf16 *scores, u64 keys, u64 pitch, u64 rows, u64 causal) {
    uint4 *row = (uint4 *)(scores + (blockIdx.y * rows + blockIdx.x) * pitch);
    int seen = (int)(causal && blockIdx.x + 1 < keys ? blockIdx.x + 1 : keys);
    uint4 kept[KEPT];
    float most = -1e30f;
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
        int first = (k * THREADS + threadIdx.x) * 8;
        if (first >= seen) continue;
        kept[k] = row[first / 8];
        Values values = unpacked(kept[k]);
#pragma unroll
        for (int lane = 0; lane < 8; lane++)
            if (first + lane < seen) most = fmaxf(most, values.at[lane]);
    }
    most = reduced<larger>(most, -1e30f);
    float total = 0.0f;
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
        int first = (k * THREADS + threadIdx.x) * 8;
        if (first >= seen) continue;
        Values values = unpacked(kept[k]);
#pragma unroll
        for (int lane = 0; lane < 8; lane++)
            if (first + lane < seen) total += __expf(values.at[lane] - most);
    }
    float scale = 1.0f / reduced<sum>(total, 0.0f);
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
        int first = (k * THREADS + threadIdx.x) * 8;
        if (first >= (int)pitch) continue;
        Values values = {};
        if (first < seen) values = unpacked(kept[k]);
#pragma unroll
        for (int lane = 0; lane < 8; lane++)
            values.at[lane] = first + lane < seen ? __expf(values.at[lane] - most) * scale : 0.0f;
        row[first / 8] = packed(values);
    }
}

// SiLU of the first half of a row of 2 * `width`, times the second half. Rows are y.
extern "C" __global__ void act_and_mul(const bf16 *from, bf16 *to, u64 width) {
    u64 i = blockIdx.x * (u64)THREADS + threadIdx.x;
    if (i >= width / 8) return;
    const uint4 *row = (const uint4 *)(from + blockIdx.y * 2 * width);
    Values gate = unpacked(row[i]), up = unpacked(row[width / 8 + i]);
#pragma unroll
    for (int lane = 0; lane < 8; lane++) gate.at[lane] = gate.at[lane] / (1.0f + __expf(-gate.at[lane])) * up.at[lane];
    ((uint4 *)(to + blockIdx.y * width))[i] = packed(gate);
}

// Writes KV blocks: block x of the list, in parts y.
extern "C" __global__ void write_kv_blocks(char *region, const Block *blocks) {
    Block block = blocks[blockIdx.x];
    u64 *words = (u64 *)(region + block.offset);
    for (u64 i = blockIdx.y * (u64)THREADS + threadIdx.x; i < block.words; i += (u64)gridDim.y * THREADS)
        words[i] = mix(block.seed + i);
}

// Adds to `wrong` how many bytes of the blocks are not as `write_kv_blocks` writes them.
extern "C" __global__ void compare_blocks(const char *region, const Block *blocks, u64 *wrong) {
    const u64 low = 0x7f7f7f7f7f7f7f7full;
    Block block = blocks[blockIdx.x];
    const u64 *words = (const u64 *)(region + block.offset);
    u64 found = 0;
    for (u64 i = blockIdx.y * (u64)THREADS + threadIdx.x; i < block.words; i += (u64)gridDim.y * THREADS) {
        u64 differ = words[i] ^ mix(block.seed + i);
        // The highest bit of each byte that is not 0.
        found += __popcll((((differ & low) + low) | differ) & ~low);
    }
    if (found > 0) atomicAdd(wrong, found);
}

// Keeps one multiprocessor busy for `ns` nanoseconds.
extern "C" __global__ void spin(u64 ns) {
    u64 start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - start < ns);
}

// The kernels of a program on a GPU. `lower.rs` launches them; its tests run this very file on the CPU, a thread at a
// time (`emulate.cpp`), so it keeps to what both have: threads, blocks, shared memory of a fixed size and
// `__syncthreads`. No kernel adds with atomics: a result's bits do not depend on the order in which threads run.
//
// Maps are `[B, T, C]`, channels last, of f32 or bf16 (`E`); statistics, vectors and sums are f32. Counts are u32, places
// in memory 64 bits. A null pointer stands for an operand that is not there.

typedef unsigned int u32;

#ifndef EMULATED
typedef unsigned long long u64;
#endif

// A number of 16 bits: the upper half of an f32, rounded to nearest, ties to even.
struct bf16 {
    unsigned short bits;
};

__device__ inline float read(float x) {
    return x;
}

__device__ inline float read(bf16 x) {
    return __uint_as_float((u32)x.bits << 16);
}

__device__ inline void put(float &to, float x) {
    to = x;
}

__device__ inline void put(bf16 &to, float x) {
    u32 bits = __float_as_uint(x);
    bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    to.bits = nan ? 0x7fffu : (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Several neighbours, moved at once.
template <typename E, int N>
struct alignas(sizeof(E) * N) Pack {
    E v[N];
};

__device__ inline u64 thread_index() {
    return (u64)blockIdx.x * blockDim.x + threadIdx.x;
}

// --- Activations ---------------------------------------------------------------------------------------------------

enum Activation { NONE, SILU, GELU };

__device__ inline float sigmoid(float z) {
    return 1.0f / (1.0f + expf(-z));
}

// The normal distribution function.
__device__ inline float normal_cdf(float z) {
    return 0.5f + 0.5f * erff(z * 0.70710678118654752f);
}

__device__ inline float activate(u32 activation, float z) {
    if (activation == SILU) return z * sigmoid(z);
    if (activation == GELU) return z * normal_cdf(z);
    return z;
}

// The derivative at `z`.
__device__ inline float slope_at(u32 activation, float z) {
    if (activation == SILU) {
        float s = sigmoid(z);
        return s * (1.0f + z * (1.0f - s));
    }
    if (activation == GELU) return normal_cdf(z) + z * 0.39894228040143268f * expf(-0.5f * z * z);
    return 1.0f;
}

// --- Element by element --------------------------------------------------------------------------------------------

// `to = from`, rounded.
template <typename From, typename To>
__device__ void cast(const From *from, u32 n, To *to) {
    u64 i = thread_index();
    if (i < n) put(to[i], read(from[i]));
}

// `y = (a + b)·scale`.
template <typename E>
__device__ void add_scaled(const E *a, const E *b, float scale, u32 n, E *y) {
    u64 i = thread_index();
    if (i < n) put(y[i], (read(a[i]) + read(b[i])) * scale);
}

// `to = Σ from·scale` over `clips` maps of `n` values, or that added to `to`.
template <typename E>
__device__ void pass_back(const E *from, float scale, u32 clips, u32 add, u32 n, E *to) {
    u64 i = thread_index();
    if (i >= n) return;
    float sum = add ? read(to[i]) : 0.0f;
    for (u32 clip = 0; clip < clips; clip++) sum += read(from[(u64)clip * n + i]) * scale;
    put(to[i], sum);
}

// `y`: `clips` copies of `x`.
template <typename E>
__device__ void repeat(const E *x, u32 clips, u32 n, E *y) {
    u64 i = thread_index();
    if (i >= n) return;
    for (u32 clip = 0; clip < clips; clip++) y[(u64)clip * n + i] = x[i];
}

template <typename E>
__device__ void silu(const E *x, u32 n, E *y) {
    u64 i = thread_index();
    if (i < n) put(y[i], activate(SILU, read(x[i])));
}

template <typename E>
__device__ void silu_back(const E *x, const E *dy, u32 add, u32 n, E *dx) {
    u64 i = thread_index();
    if (i >= n) return;
    float d = read(dy[i]) * slope_at(SILU, read(x[i]));
    put(dx[i], add ? read(dx[i]) + d : d);
}

// --- Rows of a table ----------------------------------------------------------------------------------------------

// `y = residual + table[rows]`, `[B, E]`; not a number where the table has no such row.
extern "C" __global__ void lookup(const float *table, const u32 *rows, const float *residual, u32 known, u32 b, u32 e,
                                  float *y) {
    u64 i = thread_index();
    if (i >= (u64)b * e) return;
    u32 row = rows[i / e];
    y[i] = row < known ? residual[i] + table[(u64)row * e + i % e] : __uint_as_float(0x7fc00000u);
}

// The gradient of the table, one thread a value.
extern "C" __global__ void lookup_back(const u32 *rows, const float *dy, u32 known, u32 b, u32 e, u32 add,
                                       float *dtable) {
    u64 i = thread_index();
    if (i >= (u64)known * e) return;
    float sum = add ? dtable[i] : 0.0f;
    for (u32 clip = 0; clip < b; clip++)
        if (rows[clip] == i / e) sum += dy[(u64)clip * e + i % e];
    dtable[i] = sum;
}

// --- Sums within a block ------------------------------------------------------------------------------------------

const u32 BLOCK = 256;

// The sum of `x` over a block's threads, in a fixed order.
__device__ inline float block_sum(float x) {
    __shared__ float sums[BLOCK];
    sums[threadIdx.x] = x;
    __syncthreads();
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    float sum = sums[0];
    __syncthreads();
    return sum;
}

// --- Group norm, FiLM and an activation ---------------------------------------------------------------------------

// Mean, and sum of squares about it, of a part of a group: block `(part, group, clip)`, `frames` a part.
template <typename E>
__device__ void moments(const E *x, u32 t, u32 c, u32 groups, u32 frames, float *partial) {
    u32 parts = gridDim.x, each = c / groups;
    u32 first = blockIdx.x * frames, last = min(t, first + frames);
    u32 n = (last - first) * each;
    const E *start = x + ((u64)blockIdx.z * t + first) * c + blockIdx.y * each;
    float sum = 0.0f;
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) sum += read(start[(u64)(i / each) * c + i % each]);
    float mean = block_sum(sum) / n;
    float squares = 0.0f;
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) {
        float d = read(start[(u64)(i / each) * c + i % each]) - mean;
        squares += d * d;
    }
    squares = block_sum(squares);
    if (threadIdx.x == 0) {
        float *to = partial + (((u64)blockIdx.z * groups + blockIdx.y) * parts + blockIdx.x) * 2;
        to[0] = mean;
        to[1] = squares;
    }
}

// `[B, 4, C]`: mean, reciprocal standard deviation, slope and offset of each channel; block `(group, clip)`.
extern "C" __global__ void coefficients(const float *partial, const float *affine, const float *film, u32 t, u32 c,
                                        u32 groups, u32 parts, u32 frames, float epsilon, float *out) {
    u32 group = blockIdx.x, clip = blockIdx.y, each = c / groups;
    const float *part = partial + ((u64)clip * groups + group) * parts * 2;
    // Parts joined one after the other [Chan et al. 1983].
    double n = 0.0, mean = 0.0, squares = 0.0;
    for (u32 i = 0; i < parts; i++) {
        double more = (double)(min(t, (i + 1) * frames) - i * frames) * each;
        double gap = part[2 * i] - mean, whole = n + more;
        mean += gap * more / whole;
        squares += part[2 * i + 1] + gap * gap * n * more / whole;
        n = whole;
    }
    float m = (float)mean, rstd = (float)(1.0 / sqrt(squares / n + (double)epsilon));
    float *to = out + (u64)clip * 4 * c;
    for (u32 i = group * each + threadIdx.x; i < (group + 1) * each; i += blockDim.x) {
        float scale = film ? 1.0f + film[(u64)clip * 2 * c + i] : 1.0f;
        float shift = film ? film[(u64)clip * 2 * c + c + i] : 0.0f;
        to[i] = m;
        to[c + i] = rstd;
        to[2 * c + i] = rstd * affine[i] * scale;
        to[3 * c + i] = (affine[c + i] - m * rstd * affine[i]) * scale + shift;
    }
}

// `y = f(slope·x + offset) + residual`.
template <typename E>
__device__ void normed(const E *x, const float *coefficients, u32 activation, const E *residual, u32 b, u32 t, u32 c,
                       E *y) {
    u64 i = thread_index(), clip_values = (u64)t * c;
    if (i >= b * clip_values) return;
    const float *line = coefficients + i / clip_values * 4 * c + 2 * c;
    u32 channel = i % c;
    float value = activate(activation, line[channel] * read(x[i]) + line[c + channel]);
    put(y[i], residual ? value + read(residual[i]) : value);
}

// The gradient before the norm's activation, and sums of it. Block `(128 channels, part, clip)`, a thread a channel.
//
// `dcolumns: [B·T, K·C]` is the gradient of a convolution's columns (`K = 1`: of the normed map itself); `dz: [B, T, C]`
// is written; `partial: [B, parts, 2, C]` gets the sums over a part's frames of `dz·x̂` and of `dz`.
template <typename E>
__device__ void norm_back_sums(const E *x, const float *coefficients, const E *dcolumns, u32 kernel, u32 activation,
                               u32 t, u32 c, u32 frames, E *dz, float *partial) {
    u32 channel = blockIdx.x * blockDim.x + threadIdx.x, clip = blockIdx.z, pad = kernel / 2;
    if (channel >= c) return;
    const float *line = coefficients + (u64)clip * 4 * c + channel;
    float mean = line[0], rstd = line[c], slope = line[2 * c], offset = line[3 * c];
    float against = 0.0f, alone = 0.0f;
    u32 first = blockIdx.y * frames, last = min(t, first + frames);
    for (u32 frame = first; frame < last; frame++) {
        float dh = 0.0f;
        for (u32 k = 0; k < kernel; k++) {
            u32 row = frame + pad - k; // wraps below zero, and is then no frame
            if (row < t) dh += read(dcolumns[((u64)clip * t + row) * kernel * c + k * c + channel]);
        }
        u64 at = ((u64)clip * t + frame) * c + channel;
        float value = read(x[at]);
        float d = dh * slope_at(activation, slope * value + offset);
        put(dz[at], d);
        alone += d;
        against += d * (value - mean) * rstd;
    }
    float *to = partial + ((u64)clip * gridDim.y + blockIdx.y) * 2 * c + channel;
    to[0] = against;
    to[c] = alone;
}

// From the parts' sums: `sums: [B, 2, C]` over all frames; `line: [B, 3, C]` with `dx = line0·dz - line1 - line2·x`; and
// the gradient of FiLM, `[B, 2·C]`. Block `(group, clip)`.
extern "C" __global__ void norm_back_lines(const float *partial, const float *coefficients, const float *affine,
                                           const float *film, u32 t, u32 c, u32 groups, u32 parts, float *sums,
                                           float *line, float *dfilm) {
    u32 group = blockIdx.x, clip = blockIdx.y, each = c / groups;
    const float *statistics = coefficients + (u64)clip * 4 * c;
    float *sum = sums + (u64)clip * 2 * c, *lines = line + (u64)clip * 3 * c;
    float mean_d = 0.0f, mean_d_xhat = 0.0f;
    for (u32 i = group * each + threadIdx.x; i < (group + 1) * each; i += blockDim.x) {
        float against = 0.0f, alone = 0.0f;
        for (u32 part = 0; part < parts; part++) {
            const float *from = partial + ((u64)clip * parts + part) * 2 * c + i;
            against += from[0];
            alone += from[c];
        }
        sum[i] = against;
        sum[c + i] = alone;
        float gain = affine[i] * (film ? 1.0f + film[(u64)clip * 2 * c + i] : 1.0f);
        mean_d += gain * alone;
        mean_d_xhat += gain * against;
        if (dfilm) {
            dfilm[(u64)clip * 2 * c + i] = affine[i] * against + affine[c + i] * alone;
            dfilm[(u64)clip * 2 * c + c + i] = alone;
        }
    }
    float n = (float)t * each;
    mean_d = block_sum(mean_d) / n;
    mean_d_xhat = block_sum(mean_d_xhat) / n;
    for (u32 i = group * each + threadIdx.x; i < (group + 1) * each; i += blockDim.x) {
        float gain = affine[i] * (film ? 1.0f + film[(u64)clip * 2 * c + i] : 1.0f);
        float mean = statistics[i], rstd = statistics[c + i], linear = rstd * rstd * mean_d_xhat;
        lines[i] = rstd * gain;
        lines[c + i] = rstd * mean_d - mean * linear;
        lines[2 * c + i] = linear;
    }
}

// The gradient of gain and bias, `[2, C]`; a thread a channel.
extern "C" __global__ void affine_back(const float *sums, const float *film, u32 b, u32 c, u32 add, float *daffine) {
    u32 i = thread_index();
    if (i >= c) return;
    float gain = add ? daffine[i] : 0.0f, bias = add ? daffine[c + i] : 0.0f;
    for (u32 clip = 0; clip < b; clip++) {
        const float *sum = sums + (u64)clip * 2 * c + i;
        float scale = film ? 1.0f + film[(u64)clip * 2 * c + i] : 1.0f;
        gain += scale * sum[0];
        bias += scale * sum[c];
    }
    daffine[i] = gain;
    daffine[c + i] = bias;
}

// `dx = line0·dz - line1 - line2·x`, or that added to `dx`.
template <typename E>
__device__ void norm_back(const E *x, const E *dz, const float *line, u32 b, u32 t, u32 c, u32 add, E *dx) {
    u64 i = thread_index(), clip_values = (u64)t * c;
    if (i >= b * clip_values) return;
    const float *lines = line + i / clip_values * 3 * c + i % c;
    float d = lines[0] * read(dz[i]) - lines[c] - lines[2 * c] * read(x[i]);
    put(dx[i], add ? read(dx[i]) + d : d);
}

// --- Convolution as a product -------------------------------------------------------------------------------------

// `[B·T, K·C]`: beside each frame its neighbours, zero beyond the ends, normed and activated where `coefficients` is
// given. A thread writes `N` channels.
template <typename E, int N>
__device__ void columns(const E *x, const float *coefficients, u32 activation, u32 b, u32 t, u32 c, u32 kernel, E *out) {
    u64 i = thread_index(), across = kernel * (c / N);
    if (i >= (u64)b * t * across) return;
    u64 row = i / across;
    u32 tap = i % across / (c / N), channel = i % (c / N) * N;
    u32 clip = row / t, frame = row % t + tap - kernel / 2; // wraps below zero, and is then no frame
    Pack<E, N> values;
    if (frame < t) {
        values = *(const Pack<E, N> *)(x + ((u64)clip * t + frame) * c + channel);
        if (coefficients) {
            const float *line = coefficients + (u64)clip * 4 * c + 2 * c + channel;
            for (int j = 0; j < N; j++) put(values.v[j], activate(activation, line[j] * read(values.v[j]) + line[c + j]));
        }
    } else {
        for (int j = 0; j < N; j++) put(values.v[j], 0.0f);
    }
    *(Pack<E, N> *)(out + row * kernel * c + tap * c + channel) = values;
}

// The gradient of a map from that of its columns, or that added to `dx`.
template <typename E>
__device__ void fold(const E *dcolumns, u32 b, u32 t, u32 c, u32 kernel, u32 add, E *dx) {
    u64 i = thread_index();
    if (i >= (u64)b * t * c) return;
    u64 row = i / c;
    u32 clip = row / t, frame = row % t, channel = i % c, pad = kernel / 2;
    float sum = add ? read(dx[i]) : 0.0f;
    for (u32 k = 0; k < kernel; k++) {
        u32 from = frame + pad - k;
        if (from < t) sum += read(dcolumns[((u64)clip * t + from) * kernel * c + k * c + channel]);
    }
    put(dx[i], sum);
}

// Sums over `each` rows of `[rows, C]`: block `(128 channels, part)`, a thread a channel.
template <typename E>
__device__ void row_sums(const E *x, u32 rows, u32 c, u32 each, float *partial) {
    u32 channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= c) return;
    u32 first = blockIdx.y * each, last = min(rows, first + each);
    float sum = 0.0f;
    for (u32 row = first; row < last; row++) sum += read(x[(u64)row * c + channel]);
    partial[(u64)blockIdx.y * c + channel] = sum;
}

// --- Attention ----------------------------------------------------------------------------------------------------

// Queries and keys that a block has before it, its threads, and the widest head.
const u32 TILE = 16, THREADS = 128, WIDEST = 128;
const u32 OWNED = TILE * WIDEST / THREADS; // values of a tile that a thread sums

typedef float Tile[TILE][WIDEST + 1];

// Frames `first..` of one of queries (0), keys (1) and values (2) of `qkv: [B, T, 3·C]`; zero beyond the last.
template <typename E>
__device__ void load(const E *map, u32 stride, u32 t, u32 depth, u32 first, Tile &tile) {
    for (u32 i = threadIdx.x; i < TILE * depth; i += THREADS) {
        u32 frame = first + i / depth;
        tile[i / depth][i % depth] = frame < t ? read(map[(u64)frame * stride + i % depth]) : 0.0f;
    }
}

// Stores what a block's threads summed of frames `first..` of a map.
template <typename E>
__device__ void store(const float (&sums)[OWNED], u32 stride, u32 t, u32 depth, u32 first, E *map) {
#pragma unroll
    for (u32 n = 0; n < OWNED; n++) {
        u32 i = threadIdx.x + n * THREADS, frame = first + i / depth;
        if (i < TILE * depth && frame < t) put(map[(u64)frame * stride + i % depth], sums[n]);
    }
}

// `out = a·bᵀ·scale`.
__device__ inline void scores(const Tile &a, const Tile &b, u32 depth, float scale, float (&out)[TILE][TILE]) {
    for (u32 i = threadIdx.x; i < TILE * TILE; i += THREADS) {
        float sum = 0.0f;
        for (u32 d = 0; d < depth; d++) sum += a[i / TILE][d] * b[i % TILE][d];
        out[i / TILE][i % TILE] = sum * scale;
    }
}

// `y = softmax(Q·Kᵀ·scale)·V`, `[B, T, C]`: block `(tile of queries, head, clip)`, with a running maximum and sum
// [Dao et al. 2022].
template <typename E>
__device__ void attention(const E *qkv, u32 t, u32 c, u32 depth, float scale, E *y) {
    __shared__ Tile q, k, v;
    __shared__ float s[TILE][TILE], most[TILE], total[TILE], keep[TILE];
    u32 first = blockIdx.x * TILE, stride = 3 * c;
    const E *head = qkv + (u64)blockIdx.z * t * stride + blockIdx.y * depth;
    load(head, stride, t, depth, first, q);
    if (threadIdx.x < TILE) {
        most[threadIdx.x] = -INFINITY;
        total[threadIdx.x] = 0.0f;
    }
    float sums[OWNED];
    for (u32 n = 0; n < OWNED; n++) sums[n] = 0.0f;
    for (u32 key = 0; key < t; key += TILE) {
        u32 inside = min(TILE, t - key);
        __syncthreads();
        load(head + c, stride, t, depth, key, k);
        load(head + 2 * c, stride, t, depth, key, v);
        __syncthreads();
        scores(q, k, depth, scale, s);
        __syncthreads();
        if (threadIdx.x < TILE) {
            float *row = s[threadIdx.x], before = most[threadIdx.x], now = before, sum = 0.0f;
            for (u32 j = 0; j < inside; j++) now = fmaxf(now, row[j]);
            for (u32 j = 0; j < inside; j++) sum += row[j] = expf(row[j] - now);
            keep[threadIdx.x] = expf(before - now);
            most[threadIdx.x] = now;
            total[threadIdx.x] = total[threadIdx.x] * keep[threadIdx.x] + sum;
        }
        __syncthreads();
#pragma unroll
        for (u32 n = 0; n < OWNED; n++) {
            u32 i = threadIdx.x + n * THREADS;
            if (i >= TILE * depth) continue;
            float sum = sums[n] * keep[i / depth];
            for (u32 j = 0; j < inside; j++) sum += s[i / depth][j] * v[j][i % depth];
            sums[n] = sum;
        }
    }
#pragma unroll
    for (u32 n = 0; n < OWNED; n++) {
        u32 i = threadIdx.x + n * THREADS;
        if (i < TILE * depth) sums[n] /= total[i / depth];
    }
    store(sums, c, t, depth, first, y + (u64)blockIdx.z * t * c + blockIdx.y * depth);
}

// The gradient of the queries, written into `dqkv: [B, T, 3·C]`; and for [`attention_back_keys`], of each query, the
// logarithm of the softmax's denominator and the mean of its weights' gradients, `notes: [B, heads, T, 2]`.
template <typename E>
__device__ void attention_back_queries(const E *qkv, const E *dy, u32 t, u32 c, u32 depth, float scale, float *notes,
                                       E *dqkv) {
    __shared__ Tile q, k, v, dout;
    __shared__ float s[TILE][TILE], ds[TILE][TILE], most[TILE], total[TILE], mean[TILE];
    u32 first = blockIdx.x * TILE, stride = 3 * c;
    u64 head = (u64)blockIdx.z * t * stride + blockIdx.y * depth;
    load(qkv + head, stride, t, depth, first, q);
    load(dy + (u64)blockIdx.z * t * c + blockIdx.y * depth, c, t, depth, first, dout);
    if (threadIdx.x < TILE) {
        most[threadIdx.x] = -INFINITY;
        total[threadIdx.x] = mean[threadIdx.x] = 0.0f;
    }
    for (u32 key = 0; key < t; key += TILE) {
        u32 inside = min(TILE, t - key);
        __syncthreads();
        load(qkv + head + c, stride, t, depth, key, k);
        load(qkv + head + 2 * c, stride, t, depth, key, v);
        __syncthreads();
        scores(q, k, depth, scale, s);
        scores(dout, v, depth, 1.0f, ds);
        __syncthreads();
        if (threadIdx.x < TILE) {
            u32 i = threadIdx.x;
            float before = most[i], now = before, sum = 0.0f, against = 0.0f;
            for (u32 j = 0; j < inside; j++) now = fmaxf(now, s[i][j]);
            for (u32 j = 0; j < inside; j++) {
                float weight = expf(s[i][j] - now);
                sum += weight;
                against += weight * ds[i][j];
            }
            float keep = expf(before - now);
            most[i] = now;
            total[i] = total[i] * keep + sum;
            mean[i] = mean[i] * keep + against;
        }
    }
    __syncthreads();
    if (threadIdx.x < TILE) {
        u32 i = threadIdx.x, frame = first + i;
        mean[i] /= total[i];
        most[i] += logf(total[i]);
        if (frame < t) {
            float *note = notes + (((u64)blockIdx.z * gridDim.y + blockIdx.y) * t + frame) * 2;
            note[0] = most[i];
            note[1] = mean[i];
        }
    }
    float sums[OWNED];
    for (u32 n = 0; n < OWNED; n++) sums[n] = 0.0f;
    for (u32 key = 0; key < t; key += TILE) {
        u32 inside = min(TILE, t - key);
        __syncthreads();
        load(qkv + head + c, stride, t, depth, key, k);
        load(qkv + head + 2 * c, stride, t, depth, key, v);
        __syncthreads();
        scores(q, k, depth, scale, s);
        scores(dout, v, depth, 1.0f, ds);
        __syncthreads();
        for (u32 i = threadIdx.x; i < TILE * TILE; i += THREADS) {
            u32 row = i / TILE, j = i % TILE;
            ds[row][j] = expf(s[row][j] - most[row]) * (ds[row][j] - mean[row]) * scale;
        }
        __syncthreads();
#pragma unroll
        for (u32 n = 0; n < OWNED; n++) {
            u32 i = threadIdx.x + n * THREADS;
            if (i >= TILE * depth) continue;
            for (u32 j = 0; j < inside; j++) sums[n] += ds[i / depth][j] * k[j][i % depth];
        }
    }
    store(sums, stride, t, depth, first, dqkv + head);
}

// The gradients of keys and values: block `(tile of keys, head, clip)`.
template <typename E>
__device__ void attention_back_keys(const E *qkv, const E *dy, const float *notes, u32 t, u32 c, u32 depth, float scale,
                                    E *dqkv) {
    __shared__ Tile q, k, v, dout;
    __shared__ float s[TILE][TILE], ds[TILE][TILE];
    u32 first = blockIdx.x * TILE, stride = 3 * c;
    u64 head = (u64)blockIdx.z * t * stride + blockIdx.y * depth;
    const float *note = notes + ((u64)blockIdx.z * gridDim.y + blockIdx.y) * t * 2;
    load(qkv + head + c, stride, t, depth, first, k);
    load(qkv + head + 2 * c, stride, t, depth, first, v);
    float dk[OWNED], dv[OWNED];
    for (u32 n = 0; n < OWNED; n++) dk[n] = dv[n] = 0.0f;
    for (u32 query = 0; query < t; query += TILE) {
        u32 inside = min(TILE, t - query);
        __syncthreads();
        load(qkv + head, stride, t, depth, query, q);
        load(dy + (u64)blockIdx.z * t * c + blockIdx.y * depth, c, t, depth, query, dout);
        __syncthreads();
        scores(q, k, depth, scale, s);
        scores(dout, v, depth, 1.0f, ds);
        __syncthreads();
        for (u32 i = threadIdx.x; i < TILE * TILE; i += THREADS) {
            u32 row = i / TILE, j = i % TILE;
            if (row >= inside) continue;
            const float *of = note + (u64)(query + row) * 2;
            float weight = expf(s[row][j] - of[0]);
            s[row][j] = weight;
            ds[row][j] = weight * (ds[row][j] - of[1]) * scale;
        }
        __syncthreads();
#pragma unroll
        for (u32 n = 0; n < OWNED; n++) {
            u32 i = threadIdx.x + n * THREADS;
            if (i >= TILE * depth) continue;
            for (u32 row = 0; row < inside; row++) {
                dk[n] += ds[row][i / depth] * q[row][i % depth];
                dv[n] += s[row][i / depth] * dout[row][i % depth];
            }
        }
    }
    store(dk, stride, t, depth, first, dqkv + head + c);
    store(dv, stride, t, depth, first, dqkv + head + 2 * c);
}

// --- Resampling by two --------------------------------------------------------------------------------------------

// Frame `i` of a map of `t` frames that is mirrored at both ends, the outermost one not repeated.
__device__ inline u32 mirrored(int i, u32 t) {
    int last = t - 1;
    return last - abs(last - abs(i));
}

// `taps: [phases, n]`: output frame `j` is the sum over taps `k` of the input frames `j / phases · stride + k - pad`.
// Down has one phase and a stride of two; up has two phases and a stride of one.
template <typename E>
__device__ void resample(const E *x, const float *taps, u32 b, u32 t, u32 c, u32 out_t, u32 phases, u32 n, u32 pad,
                         E *y) {
    u64 i = thread_index();
    if (i >= (u64)b * out_t * c) return;
    u64 row = i / c;
    u32 clip = row / out_t, j = row % out_t, channel = i % c;
    int first = (int)(phases == 1 ? 2 * j : j / 2) - (int)pad;
    float sum = 0.0f;
    for (u32 k = 0; k < n; k++)
        sum += taps[j % phases * n + k] * read(x[((u64)clip * t + mirrored(first + (int)k, t)) * c + channel]);
    put(y[i], sum);
}

// The gradient of `x`, or that added to `dx`: each frame collects from the outputs that read it, also as a mirror image.
template <typename E>
__device__ void resample_back(const E *dy, const float *taps, u32 b, u32 t, u32 c, u32 out_t, u32 phases, u32 n, u32 pad,
                              u32 add, E *dx) {
    u64 i = thread_index();
    if (i >= (u64)b * t * c) return;
    u64 row = i / c;
    u32 clip = row / t, frame = row % t, channel = i % c;
    float sum = add ? read(dx[i]) : 0.0f;
    int images[3] = {(int)frame, -(int)frame, 2 * (int)(t - 1) - (int)frame};
    for (int image = 0; image < 3; image++) {
        int p = images[image];
        if (image == 1 && frame == 0) continue;
        if (image == 2 && frame == t - 1) continue;
        // The outputs that have `p` among their taps.
        int high = p + (int)pad, low = high - (int)(n - 1);
        int first = phases == 1 ? (low + 1) >> 1 : 2 * low, last = phases == 1 ? high >> 1 : 2 * high + 1;
        for (int j = max(0, first); j <= min(last, (int)out_t - 1); j++) {
            int k = high - (phases == 1 ? 2 * j : j / 2);
            sum += taps[j % phases * n + k] * read(dy[((u64)clip * out_t + j) * c + channel]);
        }
    }
    put(dx[i], sum);
}

// --- Many tensors at once -----------------------------------------------------------------------------------------

// A table has a row of addresses and a length for each tensor; block `(piece, tensor)` does `PIECE` values.
const u32 PIECE = 4096;

// Row: source, destination, length.
extern "C" __global__ void cast_many(const u64 *table) {
    const u64 *row = table + (u64)blockIdx.y * 3;
    const float *from = (const float *)row[0];
    bf16 *to = (bf16 *)row[1];
    for (u64 i = (u64)blockIdx.x * PIECE + threadIdx.x; i < min(row[2], (u64)(blockIdx.x + 1) * PIECE); i += blockDim.x)
        put(to[i], from[i]);
}

// Sums of squares. Row: source, length, where the sums of its pieces begin in `partial`.
extern "C" __global__ void squares_many(const u64 *table, float *partial) {
    const u64 *row = table + (u64)blockIdx.y * 3;
    if ((u64)blockIdx.x * PIECE >= row[1]) return;
    const float *from = (const float *)row[0];
    float sum = 0.0f;
    for (u64 i = (u64)blockIdx.x * PIECE + threadIdx.x; i < min(row[1], (u64)(blockIdx.x + 1) * PIECE); i += blockDim.x)
        sum += from[i] * from[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[row[2] + blockIdx.x] = sum;
}

// AdamW [Loshchilov & Hutter 2019], then the average of the weights. Row: parameter, gradient, both moments, average (or
// null), length.
extern "C" __global__ void adam_many(const u64 *table, float beta1, float beta2, float step_size, float root_correction,
                                     float epsilon, float decay, float gradient_scale, float keep) {
    const u64 *row = table + (u64)blockIdx.y * 6;
    float *parameter = (float *)row[0], *m = (float *)row[2], *v = (float *)row[3], *average = (float *)row[4];
    const float *gradient = (const float *)row[1];
    for (u64 i = (u64)blockIdx.x * PIECE + threadIdx.x; i < min(row[5], (u64)(blockIdx.x + 1) * PIECE); i += blockDim.x) {
        float g = gradient[i] * gradient_scale;
        m[i] = beta1 * m[i] + (1.0f - beta1) * g;
        v[i] = beta2 * v[i] + (1.0f - beta2) * (g * g);
        float root = sqrtf(v[i]) * root_correction + epsilon;
        float p = parameter[i] * (1.0f - decay) - step_size * m[i] / root;
        parameter[i] = p;
        if (average) average[i] = keep * average[i] + (1.0f - keep) * p;
    }
}

// --- The versions that are launched -------------------------------------------------------------------------------

#define VERSIONS(E, NAME)                                                                                              \
    extern "C" __global__ void add_scaled_##NAME(const E *a, const E *b, float scale, u32 n, E *y) {                   \
        add_scaled(a, b, scale, n, y);                                                                                 \
    }                                                                                                                  \
    extern "C" __global__ void pass_back_##NAME(const E *from, float scale, u32 clips, u32 add, u32 n, E *to) {        \
        pass_back(from, scale, clips, add, n, to);                                                                     \
    }                                                                                                                  \
    extern "C" __global__ void repeat_##NAME(const E *x, u32 clips, u32 n, E *y) {                                     \
        repeat(x, clips, n, y);                                                                                        \
    }                                                                                                                  \
    extern "C" __global__ void silu_##NAME(const E *x, u32 n, E *y) {                                                  \
        silu(x, n, y);                                                                                                 \
    }                                                                                                                  \
    extern "C" __global__ void silu_back_##NAME(const E *x, const E *dy, u32 add, u32 n, E *dx) {                      \
        silu_back(x, dy, add, n, dx);                                                                                  \
    }                                                                                                                  \
    extern "C" __global__ void moments_##NAME(const E *x, u32 t, u32 c, u32 groups, u32 frames, float *partial) {      \
        moments(x, t, c, groups, frames, partial);                                                                     \
    }                                                                                                                  \
    extern "C" __global__ void normed_##NAME(const E *x, const float *coefficients, u32 activation,                    \
                                             const E *residual, u32 b, u32 t, u32 c, E *y) {                           \
        normed(x, coefficients, activation, residual, b, t, c, y);                                                     \
    }                                                                                                                  \
    extern "C" __global__ void norm_back_sums_##NAME(const E *x, const float *coefficients, const E *dcolumns,         \
                                                     u32 kernel, u32 activation, u32 t, u32 c, u32 frames, E *dz,      \
                                                     float *partial) {                                                 \
        norm_back_sums(x, coefficients, dcolumns, kernel, activation, t, c, frames, dz, partial);                      \
    }                                                                                                                  \
    extern "C" __global__ void norm_back_##NAME(const E *x, const E *dz, const float *line, u32 b, u32 t, u32 c,       \
                                                u32 add, E *dx) {                                                      \
        norm_back(x, dz, line, b, t, c, add, dx);                                                                      \
    }                                                                                                                  \
    extern "C" __global__ void columns_##NAME(const E *x, const float *coefficients, u32 activation, u32 b, u32 t,     \
                                              u32 c, u32 kernel, E *out) {                                             \
        columns<E, 1>(x, coefficients, activation, b, t, c, kernel, out);                                              \
    }                                                                                                                  \
    extern "C" __global__ void columns4_##NAME(const E *x, const float *coefficients, u32 activation, u32 b, u32 t,    \
                                               u32 c, u32 kernel, E *out) {                                            \
        columns<E, 4>(x, coefficients, activation, b, t, c, kernel, out);                                              \
    }                                                                                                                  \
    extern "C" __global__ void fold_##NAME(const E *dcolumns, u32 b, u32 t, u32 c, u32 kernel, u32 add, E *dx) {       \
        fold(dcolumns, b, t, c, kernel, add, dx);                                                                      \
    }                                                                                                                  \
    extern "C" __global__ void row_sums_##NAME(const E *x, u32 rows, u32 c, u32 each, float *partial) {                \
        row_sums(x, rows, c, each, partial);                                                                           \
    }                                                                                                                  \
    extern "C" __global__ void attention_##NAME(const E *qkv, u32 t, u32 c, u32 depth, float scale, E *y) {            \
        attention(qkv, t, c, depth, scale, y);                                                                         \
    }                                                                                                                  \
    extern "C" __global__ void attention_back_queries_##NAME(const E *qkv, const E *dy, u32 t, u32 c, u32 depth,       \
                                                             float scale, float *notes, E *dqkv) {                     \
        attention_back_queries(qkv, dy, t, c, depth, scale, notes, dqkv);                                              \
    }                                                                                                                  \
    extern "C" __global__ void attention_back_keys_##NAME(const E *qkv, const E *dy, const float *notes, u32 t, u32 c, \
                                                          u32 depth, float scale, E *dqkv) {                           \
        attention_back_keys(qkv, dy, notes, t, c, depth, scale, dqkv);                                                 \
    }                                                                                                                  \
    extern "C" __global__ void resample_##NAME(const E *x, const float *taps, u32 b, u32 t, u32 c, u32 out_t,          \
                                               u32 phases, u32 n, u32 pad, E *y) {                                     \
        resample(x, taps, b, t, c, out_t, phases, n, pad, y);                                                          \
    }                                                                                                                  \
    extern "C" __global__ void resample_back_##NAME(const E *dy, const float *taps, u32 b, u32 t, u32 c, u32 out_t,    \
                                                    u32 phases, u32 n, u32 pad, u32 add, E *dx) {                      \
        resample_back(dy, taps, b, t, c, out_t, phases, n, pad, add, dx);                                              \
    }

VERSIONS(float, f32)
VERSIONS(bf16, bf16)

extern "C" __global__ void cast_f32_f32(const float *from, u32 n, float *to) {
    cast(from, n, to);
}

extern "C" __global__ void cast_f32_bf16(const float *from, u32 n, bf16 *to) {
    cast(from, n, to);
}

extern "C" __global__ void cast_bf16_f32(const bf16 *from, u32 n, float *to) {
    cast(from, n, to);
}

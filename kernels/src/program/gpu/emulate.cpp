// Runs commands as a GPU would, on the CPU: for the tests of `lower.rs`, with the kernels of `kernels.cu` themselves.
//
// Reads a stream of words on standard input and writes the wanted buffers to standard output, both as raw numbers. The
// threads of a block are coroutines, which change places at `__syncthreads`; blocks follow each other. Built with the
// address sanitizer, it ends at the first access beyond a buffer.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <ucontext.h>
#include <utility>
#include <vector>

typedef uint64_t u64;

struct Dim {
    unsigned x, y, z;
};

static Dim threadIdx, blockIdx, blockDim, gridDim;

#define EMULATED
#define __global__
#define __device__
#define __shared__ static

static float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}

template <typename T>
static T min(T a, T b) {
    return a < b ? a : b;
}

template <typename T>
static T max(T a, T b) {
    return a > b ? a : b;
}

static ucontext_t scheduler;
static std::vector<ucontext_t> threads;
static std::vector<bool> waiting;
static unsigned running;

static void __syncthreads() {
    waiting[running] = true;
    swapcontext(&threads[running], &scheduler);
}

#include "kernels.cu"

// --- Launches ------------------------------------------------------------------------------------------------------

union Argument {
    void *pointer;
    unsigned u;
    float f;
};

template <typename T>
static T as(const Argument &a) {
    if constexpr (std::is_pointer_v<T>)
        return (T)a.pointer;
    else if constexpr (std::is_same_v<T, float>)
        return a.f;
    else
        return a.u;
}

typedef std::function<void(const std::vector<Argument> &)> Kernel;

template <typename... P, size_t... I>
static Kernel kernel(void (*f)(P...), std::index_sequence<I...>) {
    return [f](const std::vector<Argument> &a) {
        if (a.size() != sizeof...(P)) abort();
        f(as<P>(a[I])...);
    };
}

template <typename... P>
static Kernel kernel(void (*f)(P...)) {
    return kernel(f, std::index_sequence_for<P...>());
}

static const std::map<std::string, Kernel> KERNELS = {
#define KERNEL(NAME) {#NAME, kernel(NAME)},
#include "names.inc"
};

static const Kernel *current;
static const std::vector<Argument> *arguments;

static void body() {
    (*current)(*arguments);
}

static void launch(const std::string &name, Dim grid, unsigned block, const std::vector<Argument> &a) {
    auto found = KERNELS.find(name);
    if (found == KERNELS.end()) {
        fprintf(stderr, "no kernel %s\n", name.c_str());
        exit(1);
    }
    const size_t STACK = 1 << 16;
    static std::vector<std::vector<char>> stacks(1024, std::vector<char>(STACK));
    current = &found->second;
    arguments = &a;
    gridDim = grid;
    blockDim = {block, 1, 1};
    threads.resize(block);
    waiting.assign(block, false);
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
                for (unsigned i = 0; i < block; i++) {
                    getcontext(&threads[i]);
                    threads[i].uc_stack.ss_sp = stacks[i].data();
                    threads[i].uc_stack.ss_size = STACK;
                    threads[i].uc_link = &scheduler;
                    makecontext(&threads[i], body, 0);
                }
                std::vector<bool> done(block, false);
                for (bool any = true; any;) {
                    any = false;
                    unsigned stopped = 0;
                    for (unsigned i = 0; i < block; i++) {
                        if (done[i]) continue;
                        running = i;
                        threadIdx = {i, 0, 0};
                        waiting[i] = false;
                        swapcontext(&scheduler, &threads[i]);
                        if (waiting[i]) {
                            any = true;
                            stopped++;
                        } else {
                            done[i] = true;
                        }
                    }
                    // A barrier that only some threads reach hangs a GPU.
                    unsigned ended = 0;
                    for (unsigned i = 0; i < block; i++) ended += done[i];
                    if (stopped && ended) {
                        fprintf(stderr, "%s: %u threads at a barrier, %u at the end\n", name.c_str(), stopped, ended);
                        exit(1);
                    }
                }
            }
}

// --- Products ------------------------------------------------------------------------------------------------------

static float number(const void *p, bool half, u64 i) {
    return half ? read(((const bf16 *)p)[i]) : ((const float *)p)[i];
}

// `d = a·b + bias + c`, matrices row by row.
static void product(u64 m, u64 n, u64 k, const void *a, bool a_t, const void *b, bool b_t, bool half, const void *bias,
                    const void *c, void *d, bool half_out) {
    for (u64 i = 0; i < m; i++)
        for (u64 j = 0; j < n; j++) {
            float sum = 0.0f;
            for (u64 l = 0; l < k; l++)
                sum += number(a, half, a_t ? l * m + i : i * k + l) * number(b, half, b_t ? j * k + l : l * n + j);
            if (bias) sum += number(bias, half_out, j);
            if (c) sum += number(c, half_out, i * n + j);
            if (half_out)
                put(((bf16 *)d)[i * n + j], sum);
            else
                ((float *)d)[i * n + j] = sum;
        }
}

// --- The stream ----------------------------------------------------------------------------------------------------

static u64 word() {
    u64 w;
    if (fread(&w, 8, 1, stdin) != 1) exit(2);
    return w;
}

// Buffers: exactly as long as they were asked to be, so that nothing beyond them is anybody's.
static std::vector<char *> buffers;

static void *place() {
    u64 buffer = word(), byte = word();
    return buffer == ~0ull ? nullptr : buffers.at(buffer) + byte;
}

static std::string text() {
    std::string s(word(), 0);
    if (fread(&s[0], 1, s.size(), stdin) != s.size()) exit(2);
    return s;
}

int main() {
    std::vector<u64> lengths;
    for (u64 todo = word(); todo != 'e'; todo = word()) {
        if (todo == 'b') { // a buffer and its contents
            u64 bytes = word();
            char *buffer = (char *)aligned_alloc(256, (bytes + 255) / 256 * 256 + 256);
            if (bytes && fread(buffer, 1, bytes, stdin) != bytes) exit(2);
            buffers.push_back(buffer);
            lengths.push_back(bytes);
        } else if (todo == 'n') { // a new one, of rubbish
            u64 bytes = word();
            char *buffer = (char *)malloc(bytes ? bytes : 1);
            memset(buffer, 0xff, bytes);
            buffers.push_back(buffer);
            lengths.push_back(bytes);
        } else if (todo == 't') { // a table
            u64 cells = word();
            u64 *buffer = (u64 *)malloc(8 * cells);
            for (u64 i = 0; i < cells; i++) buffer[i] = word() ? (u64)place() : word();
            buffers.push_back((char *)buffer);
            lengths.push_back(8 * cells);
        } else if (todo == 'l') { // a launch
            std::string name = text();
            Dim grid = {(unsigned)word(), 1, 1};
            grid.y = word(), grid.z = word();
            unsigned block = word();
            std::vector<Argument> a(word());
            for (Argument &one : a) {
                if (word())
                    one.pointer = place();
                else
                    one.u = word();
            }
            launch(name, grid, block, a);
        } else if (todo == 'p') { // a product
            u64 m = word(), n = word(), k = word();
            void *a = place();
            bool a_t = word();
            void *b = place();
            bool b_t = word(), half = word();
            void *bias = place(), *c = place(), *d = place();
            product(m, n, k, a, a_t, b, b_t, half, bias, c, d, word());
        } else if (todo == 'w') { // a buffer that is wanted
            u64 buffer = word();
            fwrite(buffers.at(buffer), 1, lengths.at(buffer), stdout);
        } else {
            exit(3);
        }
    }
    return 0;
}

// Batch normalisation by own moments, leaky ReLU and max-pooling as one function of maps, with its
// first and its second derivatives.
//
// Maps are [images, height, width, channels] in memory, so that everything is a loop over channels.
// Let, for a channel of M elements x,
//   xhat = (x - mean) * inverse,   y = scale * xhat + offset,   out = max over windows of leaky(y),
// and s the gradient of `out`, put where each window's maximum came from, times the slope there:
//   grad x = scale * inverse * (s - sum s / M - xhat * sum(s * xhat) / M),
//   grad scale = sum(s * xhat),  grad offset = sum s.
// The second derivatives are those of sum a * grad x + b * grad offset + c * grad scale, for any
// cotangents a, b and c.
//
// Sums are those of rows, added up in double, image by image: threads do not change their order.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct Shape {
    int64_t images, channels, height, width, window;

    int64_t size() const { return height * width * channels; }
    int64_t rows() const { return height / window; }
    int64_t columns() const { return width / window; }
    int64_t pooled_size() const { return rows() * columns() * channels; }
    double count() const { return static_cast<double>(images * height * width); }
};

struct BFloat16 {
    uint16_t bits;
};

inline float real(BFloat16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float found;
    std::memcpy(&found, &bits, sizeof found);
    return found;
}
inline float real(float value) { return value; }
inline double real(double value) { return value; }

inline void put(float value, BFloat16 &place) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    place.bits = static_cast<uint16_t>(value == value ? rounded : 0x7fc0);
}
inline void put(float value, float &place) { place = value; }
inline void put(double value, double &place) { place = value; }

// A window's code: where its maximum is, row-wise from 0 to 3, plus ACTIVE where it is above zero.
constexpr int32_t PLACE = 3, ACTIVE = 4;

// Sums of each channel, `KINDS` of them: a row's in Real, an image's in double.
template <class Real, int KINDS> struct Sums {
    int64_t channels;
    std::vector<Real> row;
    std::vector<double> total;

    explicit Sums(int64_t channels)
        : channels(channels), row(KINDS * channels), total(KINDS * channels) {}

    Real *of(int kind) { return row.data() + kind * channels; }
    void end_row() {
        for (size_t i = 0; i < row.size(); i++) {
            total[i] += row[i];
            row[i] = 0;
        }
    }
};

// Runs `of_image(n, sums)` for each image and adds up the sums, in the order of images.
template <class Real, int KINDS, class Function>
std::vector<double> summed(const Shape &shape, Function of_image) {
    std::vector<std::vector<double>> each(shape.images);
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < shape.images; n++) {
        Sums<Real, KINDS> sums(shape.channels);
        of_image(n, sums);
        each[n] = std::move(sums.total);
    }
    std::vector<double> found(KINDS * shape.channels);
    for (const auto &sums : each)
        for (size_t i = 0; i < found.size(); i++)
            found[i] += sums[i];
    return found;
}

// The part of an element that a window's maximum is, and the slope of the activation there.
template <class Real> inline Real slope_of(int32_t code, Real slope) {
    return code >= ACTIVE ? Real(1) : slope;
}

template <class Stored, class Real, int WINDOW> struct Block {
    static constexpr int PLACES = WINDOW * WINDOW;

    const Shape shape;
    const Real slope;

    // Calls visit(place of the first element, place in the pooled image) for each window.
    template <class Visit, class End> void windows(Visit visit, End end_row) const {
        const int64_t channels = shape.channels, columns = shape.columns();
        for (int64_t row = 0; row < shape.rows(); row++) {
            for (int64_t i = 0; i < columns; i++)
                visit((row * WINDOW * shape.width + i * WINDOW) * channels,
                      (row * columns + i) * channels);
            end_row();
        }
    }

    // Calls visit(place) for each element, channels apart, that no window holds.
    template <class Visit> void leftovers(Visit visit) const {
        for (int64_t row = 0; row < shape.height; row++) {
            const bool is_left = row >= shape.rows() * WINDOW;
            for (int64_t i = is_left ? 0 : shape.columns() * WINDOW; i < shape.width; i++)
                visit((row * shape.width + i) * shape.channels);
        }
    }

    int64_t offset(int place) const {
        return ((place & 1) + (place >> 1) * shape.width) * shape.channels;
    }

    void moments(const Stored *maps, double eps, Real *mean, Real *inverse) const {
        const int64_t channels = shape.channels, width = shape.width;
        std::vector<Real> start(channels);
        for (int64_t c = 0; c < channels; c++)
            start[c] = real(maps[c]);
        const Real *first = start.data();
        const auto found = summed<Real, 2>(shape, [&](int64_t n, Sums<Real, 2> &sums) {
            const Stored *x = maps + n * shape.size();
            Real *total = sums.of(0), *squares = sums.of(1);
            for (int64_t row = 0; row < shape.height; row++) {
                for (int64_t i = 0; i < width; i++, x += channels) {
#pragma omp simd
                    for (int64_t c = 0; c < channels; c++) {
                        const Real difference = real(x[c]) - first[c];
                        total[c] += difference;
                        squares[c] += difference * difference;
                    }
                }
                sums.end_row();
            }
        });
        for (int64_t c = 0; c < channels; c++) {
            const double shift = found[c] / shape.count();
            const double variance = found[channels + c] / shape.count() - shift * shift;
            mean[c] = static_cast<Real>(start[c] + shift);
            inverse[c] = static_cast<Real>(1 / std::sqrt(variance + eps));
        }
    }

    void forward(const Stored *maps, const Real *factor, const Real *shift, Stored *pooled,
                 uint8_t *all_codes) const {
        const int64_t channels = shape.channels;
        const int64_t right = offset(1), under = offset(2), across = offset(3);
        const Real below_zero = slope;
#pragma omp parallel for schedule(static)
        for (int64_t n = 0; n < shape.images; n++) {
            const Stored *image = maps + n * shape.size();
            const auto visit = [=, this](int64_t place, int64_t out_place) {
                const Stored *x = image + place;
                Stored *out = pooled + n * shape.pooled_size() + out_place;
                uint8_t *codes = all_codes + n * shape.pooled_size() + out_place;
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    Real best = real(x[c]) * factor[c] + shift[c];
                    int32_t code = 0;
                    if (WINDOW == 2) {
                        const Real second = real(x[right + c]) * factor[c] + shift[c];
                        const Real third = real(x[under + c]) * factor[c] + shift[c];
                        const Real fourth = real(x[across + c]) * factor[c] + shift[c];
                        code = second > best ? 1 : code;
                        best = second > best ? second : best;
                        code = third > best ? 2 : code;
                        best = third > best ? third : best;
                        code = fourth > best ? 3 : code;
                        best = fourth > best ? fourth : best;
                    }
                    codes[c] = static_cast<uint8_t>(best > 0 ? code + ACTIVE : code);
                    put(best > 0 ? best : below_zero * best, out[c]);
                }
            };
            windows(visit, [] {});
        }
    }

    // Of elements at places 0 to 3 of windows, that at the code's place.
    Real chosen(const Stored *x, int64_t c, int32_t code) const {
        if (WINDOW == 1)
            return real(x[c]);
        const int32_t place = code & PLACE;
        const Real first = real(x[c]), second = real(x[offset(1) + c]);
        const Real third = real(x[offset(2) + c]), fourth = real(x[offset(3) + c]);
        const Real above = place == 1 ? second : first;
        const Real below = place == 3 ? fourth : third;
        return place >= 2 ? below : above;
    }

    // Sums of s and of s * (x - mean).
    std::vector<double> sums(const Stored *maps, const Stored *grads, const uint8_t *all_codes,
                             const Real *mean) const {
        const int64_t channels = shape.channels;
        const Real below_zero = slope;
        return summed<Real, 2>(shape, [&](int64_t n, Sums<Real, 2> &sums) {
            const Stored *image = maps + n * shape.size();
            Real *plain = sums.of(0), *by_x = sums.of(1);
            const auto visit = [=, this](int64_t place, int64_t out_place) {
                const Stored *x = image + place, *grad = grads + n * shape.pooled_size() + out_place;
                const uint8_t *codes = all_codes + n * shape.pooled_size() + out_place;
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    const int32_t code = codes[c];
                    const Real s = slope_of(code, below_zero) * real(grad[c]);
                    plain[c] += s;
                    by_x[c] += s * (chosen(x, c, code) - mean[c]);
                }
            };
            windows(visit, [&] { sums.end_row(); });
        });
    }

    // The same, and the sums of s * a, of a and of a * (x - mean).
    std::vector<double> sums(const Stored *maps, const Stored *cotangents, const Stored *grads,
                             const uint8_t *all_codes, const Real *mean) const {
        const int64_t channels = shape.channels;
        const Real below_zero = slope;
        return summed<Real, 5>(shape, [&](int64_t n, Sums<Real, 5> &sums) {
            const Stored *image = maps + n * shape.size();
            const Stored *of_image = cotangents + n * shape.size();
            Real *plain = sums.of(0), *by_x = sums.of(1), *by_a = sums.of(2);
            Real *a_plain = sums.of(3), *a_by_x = sums.of(4);
            const auto visit = [=, this](int64_t place, int64_t out_place) {
                const Stored *x = image + place, *a = of_image + place;
                const Stored *grad = grads + n * shape.pooled_size() + out_place;
                const uint8_t *codes = all_codes + n * shape.pooled_size() + out_place;
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    const int32_t code = codes[c];
                    const Real s = slope_of(code, below_zero) * real(grad[c]);
                    plain[c] += s;
                    by_x[c] += s * (chosen(x, c, code) - mean[c]);
                    by_a[c] += s * chosen(a, c, code);
                    Real sum = 0, product = 0;
                    for (int place = 0; place < PLACES; place++) {
                        const Real cotangent = real(a[offset(place) + c]);
                        sum += cotangent;
                        product += cotangent * (real(x[offset(place) + c]) - mean[c]);
                    }
                    a_plain[c] += sum;
                    a_by_x[c] += product;
                }
            };
            windows(visit, [&] { sums.end_row(); });
            leftovers([&](int64_t place) {
                const Stored *x = image + place, *a = of_image + place;
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    a_plain[c] += real(a[c]);
                    a_by_x[c] += real(a[c]) * (real(x[c]) - mean[c]);
                }
            });
            sums.end_row();
        });
    }

    // constant + of_x * (x - mean) + of_a * a + of_s * s of each element, channel by channel.
    struct Terms {
        std::vector<Real> constant, of_x, of_a, of_s;

        explicit Terms(int64_t channels)
            : constant(channels), of_x(channels), of_a(channels), of_s(channels) {}

        void set(int64_t c, double constant_, double of_x_, double of_a_, double of_s_) {
            constant[c] = static_cast<Real>(constant_);
            of_x[c] = static_cast<Real>(of_x_);
            of_a[c] = static_cast<Real>(of_a_);
            of_s[c] = static_cast<Real>(of_s_);
        }
    };

    // The elements' terms as `results`; WITH_A, the maxima's, times the slope there, as
    // `grad_grads`.
    template <bool WITH_A>
    void combine(const Stored *maps, const Stored *cotangents, const Stored *grads,
                 const uint8_t *all_codes, const Real *mean, const Terms &elements,
                 Stored *results, const Terms &maxima, Stored *grad_grads) const {
        const int64_t channels = shape.channels;
        const Real below_zero = slope;
        const Real *constant = elements.constant.data(), *of_x = elements.of_x.data();
        const Real *of_a = elements.of_a.data(), *of_s = elements.of_s.data();
        const Real *at_maxima = maxima.constant.data(), *maxima_of_x = maxima.of_x.data();
        const Real *maxima_of_a = maxima.of_a.data();
#pragma omp parallel for schedule(static)
        for (int64_t n = 0; n < shape.images; n++) {
            const Stored *image = maps + n * shape.size();
            const Stored *of_image = WITH_A ? cotangents + n * shape.size() : nullptr;
            Stored *result_image = results + n * shape.size();
            const auto visit = [=, this](int64_t place, int64_t out_place) {
                const Stored *x = image + place, *a = WITH_A ? of_image + place : nullptr;
                const Stored *grad = grads + n * shape.pooled_size() + out_place;
                const uint8_t *codes = all_codes + n * shape.pooled_size() + out_place;
                Stored *result = result_image + place;
                Stored *grad_grad =
                    WITH_A ? grad_grads + n * shape.pooled_size() + out_place : nullptr;
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    const int32_t code = codes[c];
                    const Real factor = slope_of(code, below_zero);
                    const Real s = of_s[c] * factor * real(grad[c]);
                    for (int i = 0; i < PLACES; i++) {
                        Real value = constant[c] + of_x[c] * (real(x[offset(i) + c]) - mean[c]);
                        if (WITH_A)
                            value += of_a[c] * real(a[offset(i) + c]);
                        value += (code & PLACE) == i ? s : Real(0);
                        put(value, result[offset(i) + c]);
                    }
                    if (WITH_A)
                        put(factor * (at_maxima[c] +
                                      maxima_of_x[c] * (chosen(x, c, code) - mean[c]) +
                                      maxima_of_a[c] * chosen(a, c, code)),
                            grad_grad[c]);
                }
            };
            windows(visit, [] {});
            leftovers([&](int64_t place) {
                const Stored *x = image + place, *a = WITH_A ? of_image + place : nullptr;
                Stored *result = result_image + place;
#pragma omp simd
                for (int64_t c = 0; c < channels; c++) {
                    Real value = constant[c] + of_x[c] * (real(x[c]) - mean[c]);
                    if (WITH_A)
                        value += of_a[c] * real(a[c]);
                    put(value, result[c]);
                }
            });
        }
    }

    void backward(const Stored *x, const Real *scale, const Real *mean, const Real *inverse,
                  const uint8_t *codes, const Stored *grad, Stored *grad_x, Real *grad_scale,
                  Real *grad_offset) const {
        const int64_t channels = shape.channels;
        const auto found = sums(x, grad, codes, mean);
        Terms elements(channels);
        for (int64_t c = 0; c < channels; c++) {
            const double s = found[c], s_xhat = found[channels + c] * inverse[c];
            const double factor = static_cast<double>(scale[c]) * inverse[c] / shape.count();
            elements.set(c, -factor * s, -factor * s_xhat * inverse[c], 0,
                         factor * shape.count());
            grad_scale[c] = static_cast<Real>(s_xhat);
            grad_offset[c] = static_cast<Real>(s);
        }
        combine<false>(x, nullptr, grad, codes, mean, elements, grad_x, elements, nullptr);
    }

    void double_backward(const Stored *x, const Real *scale, const Real *mean,
                         const Real *inverse, const uint8_t *codes, const Stored *grad,
                         const Stored *a, const Real *of_offset, const Real *of_scale,
                         Stored *grad_grad, Stored *grad_x, Real *grad_scale) const {
        const int64_t channels = shape.channels;
        const double count = shape.count();
        const auto found = sums(x, a, grad, codes, mean);
        Terms elements(channels), maxima(channels);
        for (int64_t c = 0; c < channels; c++) {
            const double r = inverse[c], factor = scale[c] * r;
            const auto sum = [&](int kind) { return found[kind * channels + c]; };
            const double s = sum(0), s_xhat = sum(1) * r, s_a = sum(2);
            const double a_sum = sum(3), a_xhat = sum(4) * r;
            const double inner = s_a - (a_sum * s + a_xhat * s_xhat) / count;
            // The derivative with respect to xhat alone is h = h_of_a * a + h_of_s * s.
            const double h_of_a = -factor * s_xhat / count;
            const double h_of_s = -factor * a_xhat / count + of_scale[c];
            const double h = h_of_a * a_sum + h_of_s * s;
            const double h_xhat = h_of_a * a_xhat + h_of_s * s_xhat;
            elements.set(c, -r * h / count, -r * r * (factor * inner + h_xhat) / count,
                         r * h_of_a, r * h_of_s);
            maxima.set(c, -factor * a_sum / count + of_offset[c], h_of_s * r, factor, 0);
            grad_scale[c] = static_cast<Real>(r * inner);
        }
        combine<true>(x, a, grad, codes, mean, elements, grad_x, maxima, grad_grad);
    }
};

// Calls function(block) with the block of the shape's window.
template <class Stored, class Real, class Function>
void with_block(const Shape &shape, double slope, Function function) {
    if (shape.window == 2)
        function(Block<Stored, Real, 2>{shape, static_cast<Real>(slope)});
    else
        function(Block<Stored, Real, 1>{shape, static_cast<Real>(slope)});
}

template <class Stored, class Real>
void forward(const Shape &shape, double slope, double eps, const Stored *x, const Real *scale,
             const Real *offset, Stored *out, uint8_t *codes, Real *mean, Real *inverse) {
    with_block<Stored, Real>(shape, slope, [&](const auto &block) {
        block.moments(x, eps, mean, inverse);
        std::vector<Real> factor(shape.channels), shift(shape.channels);
        for (int64_t c = 0; c < shape.channels; c++) {
            factor[c] = scale[c] * inverse[c];
            shift[c] = offset[c] - mean[c] * factor[c];
        }
        block.forward(x, factor.data(), shift.data(), out, codes);
    });
}

}  // namespace

#define EXPORTED(NAME, STORED, REAL)                                                               \
    extern "C" void forward_##NAME(const Shape *shape, double slope, double eps, const STORED *x,  \
                                   const REAL *scale, const REAL *offset, STORED *out,             \
                                   uint8_t *codes, REAL *mean, REAL *inverse) {                    \
        forward<STORED, REAL>(*shape, slope, eps, x, scale, offset, out, codes, mean, inverse);    \
    }                                                                                              \
    extern "C" void backward_##NAME(const Shape *shape, double slope, const STORED *x,             \
                                    const REAL *scale, const REAL *mean, const REAL *inverse,      \
                                    const uint8_t *codes, const STORED *grad, STORED *grad_x,      \
                                    REAL *grad_scale, REAL *grad_offset) {                         \
        with_block<STORED, REAL>(*shape, slope, [&](const auto &block) {                           \
            block.backward(x, scale, mean, inverse, codes, grad, grad_x, grad_scale, grad_offset); \
        });                                                                                        \
    }                                                                                              \
    extern "C" void double_backward_##NAME(                                                        \
        const Shape *shape, double slope, const STORED *x, const REAL *scale, const REAL *mean,    \
        const REAL *inverse, const uint8_t *codes, const STORED *grad, const STORED *a,            \
        const REAL *of_offset, const REAL *of_scale, STORED *grad_grad, STORED *grad_x,            \
        REAL *grad_scale) {                                                                        \
        with_block<STORED, REAL>(*shape, slope, [&](const auto &block) {                           \
            block.double_backward(x, scale, mean, inverse, codes, grad, a, of_offset, of_scale,    \
                                  grad_grad, grad_x, grad_scale);                                  \
        });                                                                                        \
    }

EXPORTED(float32, float, float)
EXPORTED(float64, double, double)
EXPORTED(bfloat16, BFloat16, float)

// torchvision's two operations that scripted detectors call, so that they run on plain libtorch.
//
// `nms` and `roi_align` have torchvision's schemas and, on the processor, its results bit for bit: the
// numbers are computed in the same type and in the same order. On other devices the boxes are read by the
// host, which is where the few numbers that decide are; the features stay on their device.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/embedding_bag.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

namespace {

using at::Tensor;

// Samples that one box may take: a box that asks for more is no box of an image.
constexpr double kMostSamples = 1 << 24;
// Rows of a table that all boxes together may take, where they are kept until the last box is read.
constexpr size_t kMostRows = size_t{1} << 28;

bool is_plain(const Tensor &tensor) {
    return tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble;
}

template <typename T>
Tensor kept(const Tensor &boxes, const Tensor &scores, double threshold) {
    const int64_t count = boxes.size(0);
    const Tensor sorted = std::get<1>(scores.sort(/*stable=*/true, /*dim=*/0, /*descending=*/true));
    const int64_t *order = sorted.const_data_ptr<int64_t>();
    const T *box = boxes.const_data_ptr<T>();
    std::vector<T> areas(count);
    for (int64_t i = 0; i < count; i++) {
        const T *one = box + 4 * i;
        areas[i] = (one[2] - one[0]) * (one[3] - one[1]);
    }
    std::vector<uint8_t> suppressed(count, 0);
    std::vector<int64_t> winners;
    for (int64_t at = 0; at < count; at++) {
        const int64_t i = order[at];
        if (suppressed[i]) continue;
        winners.push_back(i);
        const T *one = box + 4 * i;
        for (int64_t after = at + 1; after < count; after++) {
            const int64_t j = order[after];
            if (suppressed[j]) continue;
            const T *other = box + 4 * j;
            const T width = std::max(T(0), std::min(one[2], other[2]) - std::max(one[0], other[0]));
            const T height = std::max(T(0), std::min(one[3], other[3]) - std::max(one[1], other[1]));
            const T both = width * height;
            // The quotient is a T and the threshold a double, as in torchvision.
            const T overlap = both / (areas[i] + areas[j] - both);
            suppressed[j] = overlap > threshold;
        }
    }
    Tensor result = at::empty({static_cast<int64_t>(winners.size())}, at::kLong);
    std::copy(winners.begin(), winners.end(), result.mutable_data_ptr<int64_t>());
    return result;
}

// The boxes that no better one overlaps by more than the threshold, best first; of equal scores the first.
Tensor nms(const Tensor &boxes, const Tensor &scores, double threshold) {
    TORCH_CHECK(boxes.dim() == 2, "boxes should be a 2d tensor, got ", boxes.dim(), "D");
    TORCH_CHECK(boxes.size(1) == 4, "boxes should have 4 elements in dimension 1, got ", boxes.size(1));
    TORCH_CHECK(scores.dim() == 1, "scores should be a 1d tensor, got ", scores.dim(), "D");
    TORCH_CHECK(boxes.size(0) == scores.size(0),
                "boxes and scores should have same number of elements in dimension 0, got ",
                boxes.size(0), " and ", scores.size(0));
    TORCH_CHECK(boxes.scalar_type() == scores.scalar_type(), "boxes should have the same type as scores");
    const at::ScalarType type = is_plain(boxes) ? boxes.scalar_type() : at::kFloat;
    const Tensor host_boxes = boxes.to(at::kCPU, type).contiguous();
    const Tensor host_scores = scores.to(at::kCPU, type).contiguous();
    const Tensor result = type == at::kDouble ? kept<double>(host_boxes, host_scores, threshold)
                                              : kept<float>(host_boxes, host_scores, threshold);
    return result.to(boxes.device());
}

// A place in a plane of features between four of its cells, and how much each of them counts there.
template <typename T>
struct Sample {
    int64_t cells[4];
    T weights[4];
};

// What is read of one plane of features for one box: `grid` samples for each cell of the result.
template <typename T>
struct Samples {
    int64_t image;
    int64_t grid;
    std::vector<Sample<T>> all;
};

// How features are pooled, and the plane they are in.
struct Pooling {
    double scale;
    int64_t pooled_height, pooled_width;
    int64_t sampling_ratio;
    bool aligned;
    int64_t images, height, width;
};

template <typename T>
Sample<T> sample(T y, T x, int64_t height, int64_t width) {
    Sample<T> result = {};
    // Said so that what is not a number lies outside, too.
    if (!(y >= -1.0 && y <= height && x >= -1.0 && x <= width)) return result;
    y = y <= 0 ? T(0) : y;
    x = x <= 0 ? T(0) : x;
    int64_t top = static_cast<int64_t>(y), left = static_cast<int64_t>(x);
    int64_t bottom = top + 1, right = left + 1;
    if (top >= height - 1) {
        bottom = top = height - 1;
        y = static_cast<T>(top);
    }
    if (left >= width - 1) {
        right = left = width - 1;
        x = static_cast<T>(left);
    }
    const T down = y - top, across = x - left;
    const T up = 1. - down, back = 1. - across;
    const int64_t cells[] = {top * width + left, top * width + right, bottom * width + left, bottom * width + right};
    const T weights[] = {up * back, up * across, down * back, down * across};
    std::copy(cells, cells + 4, result.cells);
    std::copy(weights, weights + 4, result.weights);
    return result;
}

// A box is its image's index and its left, top, right and bottom side.
template <typename T>
Samples<T> samples(const T *box, const Pooling &how) {
    TORCH_CHECK(box[0] >= 0 && box[0] < how.images, "a box belongs to image ", box[0], " of ", how.images);
    const T scale = static_cast<T>(how.scale);
    const T offset = how.aligned ? T(0.5) : T(0);
    const T left = box[1] * scale - offset, top = box[2] * scale - offset;
    T width = (box[3] * scale - offset) - left, height = (box[4] * scale - offset) - top;
    if (!how.aligned) {
        width = std::max(width, T(1));
        height = std::max(height, T(1));
    }
    const T bin_height = height / static_cast<T>(how.pooled_height);
    const T bin_width = width / static_cast<T>(how.pooled_width);
    // Every pixel of the box is looked at where no ratio is given; a box of no pixels gives zeros.
    const auto along = [&](T size, int64_t pooled) -> double {
        if (how.sampling_ratio > 0) return static_cast<double>(how.sampling_ratio);
        const T pixels = std::ceil(size / pooled);
        return pixels > 0 ? static_cast<double>(pixels) : 0.0;
    };
    const double down = along(height, how.pooled_height), across = along(width, how.pooled_width);
    TORCH_CHECK(down * across * how.pooled_height * how.pooled_width <= kMostSamples,
                "a box of ", height, " x ", width, " cells is too large to be pooled");
    // A box that is empty along one side may be endless along the other, and is not walked along that.
    const bool empty = down == 0 || across == 0;
    const int64_t rows = empty ? 0 : static_cast<int64_t>(down), columns = empty ? 0 : static_cast<int64_t>(across);
    Samples<T> result{static_cast<int64_t>(box[0]), rows * columns, {}};
    result.all.reserve(how.pooled_height * how.pooled_width * rows * columns);
    for (int64_t ph = 0; ph < how.pooled_height; ph++) {
        for (int64_t pw = 0; pw < how.pooled_width; pw++) {
            for (int64_t iy = 0; iy < rows; iy++) {
                const T y = top + ph * bin_height + static_cast<T>(iy + .5f) * bin_height / static_cast<T>(rows);
                for (int64_t ix = 0; ix < columns; ix++) {
                    const T x = left + pw * bin_width + static_cast<T>(ix + .5f) * bin_width / static_cast<T>(columns);
                    result.all.push_back(sample(y, x, how.height, how.width));
                }
            }
        }
    }
    return result;
}

// Features in host memory: every plane in turn, in torchvision's order of additions.
template <typename T>
Tensor pooled_on_host(const Tensor &features, const Tensor &boxes, const Pooling &how) {
    const int64_t count = boxes.size(0), channels = features.size(1);
    const int64_t bins = how.pooled_height * how.pooled_width, plane = how.height * how.width;
    Tensor result = at::zeros({count, channels, how.pooled_height, how.pooled_width}, features.options());
    const T *input = features.const_data_ptr<T>();
    const T *box = boxes.const_data_ptr<T>();
    T *output = result.mutable_data_ptr<T>();
    for (int64_t n = 0; n < count; n++) {
        const Samples<T> read = samples(box + 5 * n, how);
        const T divisor = static_cast<T>(std::max<int64_t>(read.grid, 1));
        for (int64_t c = 0; c < channels; c++) {
            const T *cells = input + (read.image * channels + c) * plane;
            const Sample<T> *next = read.all.data();
            for (int64_t bin = 0; bin < bins; bin++) {
                T sum = 0;
                for (int64_t i = 0; i < read.grid; i++, next++) {
                    sum += next->weights[0] * cells[next->cells[0]] + next->weights[1] * cells[next->cells[1]] +
                           next->weights[2] * cells[next->cells[2]] + next->weights[3] * cells[next->cells[3]];
                }
                *output++ = sum / divisor;
            }
        }
    }
    return result;
}

// Features anywhere else, or in half precision: each cell of the result is a weighted sum of rows of a
// table, which libtorch knows as a bag of embeddings. The rows and weights are made by the host.
Tensor pooled_in_bags(const Tensor &features, const Tensor &boxes, const Pooling &how) {
    const int64_t count = boxes.size(0), channels = features.size(1);
    const int64_t bins = how.pooled_height * how.pooled_width, plane = how.height * how.width;
    const Tensor host = boxes.to(at::kCPU, at::kFloat).contiguous();
    std::vector<int64_t> rows, starts;
    std::vector<float> weights;
    for (int64_t n = 0; n < count; n++) {
        const Samples<float> read = samples(host.const_data_ptr<float>() + 5 * n, how);
        TORCH_CHECK(rows.size() + 4 * read.all.size() <= kMostRows, "the boxes are too large to be pooled together");
        const Sample<float> *next = read.all.data();
        for (int64_t bin = 0; bin < bins; bin++) {
            starts.push_back(static_cast<int64_t>(rows.size()));
            for (int64_t i = 0; i < read.grid; i++, next++) {
                for (int64_t corner = 0; corner < 4; corner++) {
                    rows.push_back(read.image * plane + next->cells[corner]);
                    weights.push_back(next->weights[corner] / static_cast<float>(read.grid));
                }
            }
        }
    }
    const auto there = [&](auto &values, at::ScalarType type) {
        const int64_t size = static_cast<int64_t>(values.size());
        // A copy, because the values are gone before a device has read them.
        return at::from_blob(values.data(), {size}, type).to(features.device(), type, false, true);
    };
    const Tensor table = features.to(at::kFloat).permute({0, 2, 3, 1}).reshape({how.images * plane, channels});
    const Tensor sums = std::get<0>(at::embedding_bag(
        table, there(rows, at::kLong), there(starts, at::kLong), /*scale_grad_by_freq=*/false, /*mode=*/0,
        /*sparse=*/false, there(weights, at::kFloat)));
    return sums.reshape({count, how.pooled_height, how.pooled_width, channels})
        .permute({0, 3, 1, 2})
        .to(features.scalar_type())
        .contiguous();
}

// The mean of samples of the features in each cell of a grid over each box.
Tensor roi_align(const Tensor &features, const Tensor &boxes, double scale, int64_t pooled_height,
                 int64_t pooled_width, int64_t sampling_ratio, bool aligned) {
    TORCH_CHECK(features.dim() == 4, "input must have shape as Tensor[N, C, H, W]");
    TORCH_CHECK(boxes.dim() == 2 && boxes.size(1) == 5, "rois must have shape as Tensor[K, 5]");
    TORCH_CHECK(features.scalar_type() == boxes.scalar_type(), "input should have the same type as rois");
    TORCH_CHECK(pooled_height > 0 && pooled_width > 0, "a box cannot be pooled to ", pooled_height, " x ", pooled_width);
    const Pooling how{scale, pooled_height, pooled_width, sampling_ratio, aligned,
                      features.size(0), features.size(2), features.size(3)};
    if (boxes.size(0) == 0 || features.size(1) == 0) {
        return at::zeros({boxes.size(0), features.size(1), pooled_height, pooled_width}, features.options());
    }
    TORCH_CHECK(features.numel() > 0, "features of shape ", features.sizes(), " hold nothing to pool");
    if (!features.is_cpu() || !is_plain(features)) return pooled_in_bags(features, boxes, how);
    const Tensor all = features.contiguous(), each = boxes.contiguous();
    return features.scalar_type() == at::kDouble ? pooled_on_host<double>(all, each, how)
                                                 : pooled_on_host<float>(all, each, how);
}

void add(torch::Library &library, const char *name, const char *schema, torch::CppFunction &&function) {
    // Where torchvision itself is in the process, its own are as good.
    if (c10::Dispatcher::singleton().findSchema({name, ""})) return;
    library.def(schema);
    library.impl(name, std::move(function));
}

} // namespace

// Makes the operations known to libtorch. Gives nothing, or why it cannot, as text that stays.
extern "C" const char *marserve_register_torchvision() noexcept {
    static const std::string failure = []() -> std::string {
        try {
            // Never freed: libtorch keeps what it knows until the process is gone.
            auto *library = new torch::Library(torch::Library::FRAGMENT, "torchvision", std::nullopt, __FILE__, __LINE__);
            add(*library, "torchvision::nms",
                "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
                torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, TORCH_FN(nms)));
            add(*library, "torchvision::roi_align",
                "torchvision::roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
                "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
                torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, TORCH_FN(roi_align)));
            return {};
        } catch (const std::exception &error) {
            return *error.what() ? error.what() : "no reason given";
        }
    }();
    return failure.empty() ? nullptr : failure.c_str();
}

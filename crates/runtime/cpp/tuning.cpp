// What libtorch can make of a TorchScript module so that it runs faster, which tch does not offer.
//
// All of it works on the module that it is given, which is put in the place of the one that it was made from:
// what nobody holds any more is freed at once, and a module that is not to change is opened from its file
// another time. A copy inside libtorch would stay in the file's compilation unit for as long as that is used.

#include <algorithm>
#include <exception>
#include <string>

#include <ATen/Version.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/ir.h>

namespace {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Module;
using torch::jit::Node;

// Why the last call on this thread failed.
thread_local std::string failure;

template <typename Work>
const char *told(Work work) noexcept {
    try {
        work();
        return nullptr;
    } catch (const std::exception &error) {
        failure = error.what();
    } catch (...) {
        failure.clear();
    }
    if (failure.empty()) failure = "no reason given";
    return failure.c_str();
}

// Whether one of the nodes in a block, or in the blocks within it, is so.
template <typename Is>
bool any(const Block *block, const Is &is) {
    return std::any_of(block->nodes().begin(), block->nodes().end(), [&](const Node *node) {
        const auto &inner = node->blocks();
        return is(node) || std::any_of(inner.begin(), inner.end(), [&](const Block *block) { return any(block, is); });
    });
}

// Freezing leaves attributes where something writes to them, or where they are no numbers. What it made into
// a constant may be written to if it was one before.
bool keeps_state(const Module &frozen) {
    const auto graph = frozen.get_method("forward").graph();
    const bool reads = any(graph->block(), [](const Node *node) {
        const auto kind = node->kind();
        return kind == c10::prim::GetAttr || kind == c10::prim::SetAttr || kind == c10::prim::CallMethod;
    });
    if (reads) return true;
    const torch::jit::AliasDb aliases(graph);
    return any(graph->block(), [&](const Node *node) {
        const auto outputs = node->outputs();
        return node->kind() == c10::prim::Constant &&
               std::any_of(outputs.begin(), outputs.end(),
                           [&](const torch::jit::Value *value) { return aliases.hasWriters(value); });
    });
}

} // namespace

// Makes everything constant that nothing writes to, and folds what can be computed ahead of a pass. Says
// whether something is left that a pass may change, and whether its time depends on more than its inputs'
// sizes. The module has to be in evaluation mode.
extern "C" const char *marserve_freeze(Module *module, bool *writes_into_itself, bool *loops) noexcept {
    return told([&] {
        *module = torch::jit::freeze(*module);
        *writes_into_itself = keeps_state(*module);
        const auto graph = module->get_method("forward").graph();
        *loops = any(graph->block(), [](const Node *node) { return node->kind() == c10::prim::Loop; });
    });
}

// Lays out the weights of convolutions so that a pixel's channels lie together; what a convolution is given,
// and what it answers, follows its weights. For modules that are not frozen.
extern "C" const char *marserve_channels_last(Module *module) noexcept {
    return told([&] {
        const auto lay = [](const at::Tensor &tensor) {
            if (tensor.dim() == 4 && tensor.layout() == at::kStrided) {
                tensor.set_data(tensor.contiguous(at::MemoryFormat::ChannelsLast));
            }
        };
        for (const at::Tensor &parameter : module->parameters()) lay(parameter);
        for (const at::Tensor &buffer : module->buffers()) lay(buffer);
    });
}

// Rewrites a frozen module for the processor that it is on: convolutions are fused with what follows, and
// run by oneDNN on weights in its own layout. Such a module cannot be saved.
extern "C" const char *marserve_optimise_for_inference(Module *module) noexcept {
    return told([&] { *module = torch::jit::optimize_for_inference(*module); });
}

// How this libtorch was built, with what, and for which instructions of this processor.
extern "C" const char *marserve_configuration() noexcept {
    thread_local std::string configuration;
    told([&] { configuration = at::show_config(); });
    return configuration.c_str();
}

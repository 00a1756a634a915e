//! Whether the workers of one model may run the same weights at the same time.
//!
//! A forward pass keeps what it computes to itself, unless the network writes into its own attributes: a
//! counter, a cache, running statistics. TorchScript files hold their code as text, so this is read there,
//! and in doubt the answer is no: each worker then loads the weights for itself.

use std::collections::HashSet;

use super::script::Script;

/// Whether no code of a TorchScript file writes into the module. False where the code cannot be read.
pub(crate) fn leaves_itself_alone(script: Option<&Script>) -> bool {
    script.is_some_and(|script| !script.sources().any(writes_into_itself))
}

/// Whether a function of the source assigns to an attribute, or calls an operation that works in place
/// (`add_`, `copy_`) on one.
fn writes_into_itself(source: &str) -> bool {
    // Names that stand for an attribute, in the function that is being read.
    let mut attributes: HashSet<&str> = HashSet::new();
    for line in source.lines().map(str::trim) {
        if line.starts_with("def ") {
            attributes.clear();
        }
        if let Some((left, right)) = line.split_once(" = ") {
            let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
            if left.contains('.') && !left.contains([':', '"']) {
                return true;
            }
            let attribute = right.rsplit_once('.').is_some_and(|(_, last)| is_name(last));
            if is_name(left) && (attribute || attributes.contains(right)) {
                attributes.insert(left);
            }
        }
        let in_place = line.match_indices("_(").any(|(place, _)| {
            let called = line[..place].rsplit([' ', '(', ',']).next().unwrap_or_default();
            let first = line[place + 2..].split([',', ')']).next().unwrap_or_default().trim();
            let attribute = first.contains('.') && !first.contains('(');
            called.contains('.') && (attribute || attributes.contains(first))
        });
        if in_place {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn function(body: &str) -> String {
        format!(
            "class Net(Module):\n  __buffers__ = [\"seen\", ]\n  seen : Tensor\n  __annotations__[\"0\"] = __torch__.Conv\n  kernel : Final[Tuple[int, int]] = (1, 1)\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n    seen = self.seen\n    {body}\n    return x\n"
        )
    }

    #[test]
    fn what_a_pass_computes_is_its_own() {
        for body in [
            "_0 = torch.add_(x, seen)",
            "x0 = torch.relu_(torch.conv2d(x, seen, None))",
            "_0 = (seen).forward(x, )",
            "_0 = getattr(self, \"0\")",
            "x1 = torch.mul(x, 0.5)",
        ] {
            assert!(!writes_into_itself(&function(body)), "{body}");
        }
    }

    #[test]
    fn a_write_into_the_module_is_seen() {
        for body in [
            "self.seen = torch.add(seen, 1)",
            "_0 = torch.add_(seen, 1)",
            "_0 = torch.add_(self.seen, 1)",
            "cache = seen\n    _0 = torch.copy_(cache, x)",
            "x0 = torch.relu(torch.add_(seen, x))",
        ] {
            assert!(writes_into_itself(&function(body)), "{body}");
        }
        let other =
            format!("{}  def g(self, seen: Tensor):\n    _0 = torch.add_(seen, 1)\n", function(""));
        assert!(!writes_into_itself(&other), "another function's argument of the same name");
    }

    #[test]
    fn a_traced_network_may_be_shared_and_what_cannot_be_read_may_not() {
        let shareable = |name: &str| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
            leaves_itself_alone(Script::read(&file).as_ref())
        };
        assert!(shareable("convolution.pt"));
        assert!(shareable("../../../../examples/street_scenes/fastunet.pt"));
        assert!(!shareable("make.py"));
        assert!(!shareable("missing.pt"));
    }
}

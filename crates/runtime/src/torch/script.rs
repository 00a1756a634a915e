//! What a TorchScript file says of its network: the code, which it holds as text.
//!
//! libtorch knows more, but tch asks it for nothing but results.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use mar_handler::{Signature, TensorSpec};
use zip::ZipArchive;

/// A tensor, as the code names its type.
const TENSOR: &str = "Tensor";

/// More code than any network has; a file with more is not read further.
const MOST_CODE: u64 = 64 << 20;

/// As much of the pickled network as says which class it is of.
const CLASS_LENGTH: u64 = 4096;

/// The code of a TorchScript file.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Name and text of each source, such as `code/__torch__/net.py`.
    sources: Vec<(String, String)>,
    /// The network's class, as `__torch__.net.Net`.
    class: Option<String>,
}

impl Script {
    /// The code of a file, or nothing where it cannot be read.
    pub(crate) fn read(file: &Path) -> Option<Self> {
        let mut archive = ZipArchive::new(File::open(file).ok()?).ok()?;
        let mut script = Self::default();
        for index in 0..archive.len() {
            let entry = archive.by_index(index).ok()?;
            let name = entry.name().ok()?.into_owned();
            // Everything lies in a folder that is named after the file.
            let Some((_, name)) = name.split_once('/') else { continue };
            let is_code = Path::new(name).extension().is_some_and(|extension| extension == "py");
            if name == "data.pkl" {
                let mut start = Vec::new();
                entry.take(CLASS_LENGTH).read_to_end(&mut start).ok()?;
                script.class = pickled_class(&start);
            } else if is_code && name.starts_with("code/") {
                let mut source = String::new();
                let read = entry.take(MOST_CODE + 1).read_to_string(&mut source).ok()?;
                if read as u64 > MOST_CODE {
                    return None;
                }
                script.sources.push((name.to_owned(), source));
            }
        }
        Some(script)
    }

    /// The text of every source.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|(_, source)| source.as_str())
    }

    /// Whether the network's first input is a list of tensors, as torchvision's detectors have it.
    pub(crate) fn takes_a_list(&self) -> bool {
        self.first_input().is_some_and(|input| input.starts_with("List[Tensor]"))
    }

    /// What `forward` says of the network's inputs and outputs: their names, where all are tensors and none
    /// may be left out. Types and sides are no part of the code.
    pub(crate) fn signature(&self) -> Signature {
        let Some((inputs, outputs)) = self.forward() else { return Signature::default() };
        let input = |input: &str| {
            let (name, kind) = input.trim().split_once(": ")?;
            (kind == TENSOR).then(|| TensorSpec::named(name))
        };
        Signature { inputs: inputs.split(",\n").map(input).collect(), outputs: outputs_of(outputs) }
    }

    /// The inputs of `forward` but the network itself, each on its line, and the type of its output.
    fn forward(&self) -> Option<(&str, &str)> {
        let rest = self.inputs()?;
        let (inputs, output) = rest.split_once(") -> ")?;
        // The output's type ends with its line.
        Some((inputs, output.lines().next()?.strip_suffix(':')?))
    }

    /// The type of `forward`'s first input, and what follows it.
    fn first_input(&self) -> Option<&str> {
        let (_, kind) = self.inputs()?.lines().next()?.split_once(": ")?;
        Some(kind)
    }

    /// The inputs of `forward` but the network itself, and all that follows.
    fn inputs(&self) -> Option<&str> {
        let (module, class) = self.class.as_deref()?.rsplit_once('.')?;
        let file = format!("code/{}.py", module.replace('.', "/"));
        let (_, source) = self.sources.iter().find(|(name, _)| *name == file)?;
        let (_, body) = source.split_once(&format!("class {class}(Module):\n"))?;
        let body = body.split("\nclass ").next()?;
        let (_, inputs) = body.split_once("def forward(self: ")?;
        let end = inputs.find([',', ')'])?;
        inputs[end..].strip_prefix(",\n")
    }
}

/// The outputs of this type, by Triton's names where there are several.
fn outputs_of(kind: &str) -> Option<Vec<TensorSpec>> {
    if kind == TENSOR {
        return Some(vec![TensorSpec::named("output")]);
    }
    let members = kind.strip_prefix("Tuple[")?.strip_suffix(']')?;
    let output = |(index, member): (usize, &str)| {
        (member == TENSOR).then(|| TensorSpec::named(format!("output__{index}")))
    };
    members.split(", ").enumerate().map(output).collect()
}

/// The class that a pickled network begins with: its module and its name, a line each.
fn pickled_class(start: &[u8]) -> Option<String> {
    let start = start.strip_prefix(b"\x80\x02c")?;
    let mut lines = start.split(|byte| *byte == b'\n');
    let (module, class) = (lines.next()?, lines.next()?);
    Some(format!("{}.{}", str::from_utf8(module).ok()?, str::from_utf8(class).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(class: &str, source: &str) -> Script {
        let sources = vec![("code/__torch__/net.py".to_owned(), source.to_owned())];
        Script { sources, class: Some(class.to_owned()) }
    }

    #[test]
    fn the_networks_own_forward_says_whether_it_takes_a_list() {
        let source = "class Part(Module):\n  def forward(self: __torch__.net.Part,\n    x: Tensor) -> Tensor:\n    return x\nclass Net(Module):\n  def helper(self: __torch__.net.Net,\n    x: Tensor) -> Tensor:\n    return x\n  def forward(self: __torch__.net.Net,\n    images: List[Tensor],\n    targets: Optional[List[Dict[str, Tensor]]]=None) -> Tensor:\n    return images[0]\n";
        assert!(script("__torch__.net.Net", source).takes_a_list());
        assert!(!script("__torch__.net.Part", source).takes_a_list());
        assert!(!script("__torch__.other.Net", source).takes_a_list());
    }

    #[test]
    fn forward_says_the_names_of_inputs_and_outputs() {
        let told = |inputs: &str, output: &str| {
            let source = format!(
                "class Net(Module):\n  def forward(self: __torch__.net.Net{inputs}) -> {output}:\n    x = self.x\n    return (x, {{}}) -> x:\n"
            );
            let Signature { inputs, outputs } = script("__torch__.net.Net", &source).signature();
            [inputs, outputs].map(|specs| {
                let specs = specs?;
                assert!(specs.iter().all(|spec| spec.dtype.is_none() && spec.shape.is_none()));
                Some(specs.into_iter().map(|spec| spec.name).collect::<Vec<_>>().join(" "))
            })
        };
        let some = |names: &str| Some(names.to_owned());
        let one = ",\n    input: Tensor";
        assert_eq!(told(one, "Tensor"), [some("input"), some("output")]);
        let two = ",\n    ids: Tensor,\n    mask: Tensor";
        let pair = "Tuple[Tensor, Tensor]";
        assert_eq!(told(two, pair), [some("ids mask"), some("output__0 output__1")]);
        assert_eq!(told(one, "Tuple[Tensor]"), [some("input"), some("output__0")]);
        assert_eq!(told("", "Tensor"), [None, None]);
        for inputs in [
            ",\n    images: List[Tensor]",
            ",\n    x: Tensor,\n    mask: Optional[Tensor]=None",
            ",\n    x: Tensor,\n    scale: float",
        ] {
            assert_eq!(told(inputs, "Tensor"), [None, some("output")], "{inputs}");
        }
        for output in
            ["Dict[str, Tensor]", "Tuple[Tensor, List[Tensor]]", "List[Tensor]", "Tuple[()]"]
        {
            assert_eq!(told(one, output), [some("input"), None], "{output}");
        }
        assert_eq!(Script::default().signature(), Signature::default());
    }

    #[test]
    fn a_forward_of_no_input_takes_no_list() {
        let source = "class Net(Module):\n  def forward(self: __torch__.net.Net) -> Tensor:\n    return self.x\nclass Other(Module):\n  def forward(self: __torch__.net.Other,\n    x: List[Tensor]) -> Tensor:\n    return x[0]\n";
        assert!(!script("__torch__.net.Net", source).takes_a_list());
        assert!(script("__torch__.net.Other", source).takes_a_list());
    }

    #[test]
    fn a_file_says_its_class_and_what_is_no_file_says_nothing() {
        let fixture =
            |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let read = Script::read(&fixture("convolution.pt")).unwrap();
        assert_eq!(read.first_input(), Some("Tensor) -> Tensor:"));
        let (inputs, outputs) =
            (vec![TensorSpec::named("input")], vec![TensorSpec::named("output")]);
        let signature = Signature { inputs: Some(inputs), outputs: Some(outputs) };
        assert_eq!(read.signature(), signature);
        assert!(Script::read(&fixture("make.py")).is_none());
        assert!(Script::read(&fixture("missing.pt")).is_none());
    }
}

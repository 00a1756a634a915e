//! What an epilogue gives, whichever library ran the network: the same tests for each.

/// Tests of a function from outputs and an epilogue to results, all of them tensors of the host.
#[cfg(any(feature = "torch", feature = "onnx"))]
macro_rules! epilogue_tests {
    ($apply:path) => {
        mod as_all_libraries_have_it {
            use half::{bf16, f16};
            use mar_handler::{DType, Element, Epilogue, Tensor};

            use super::*;

            fn scores<T: Element + Clone>(values: &[T], shape: &[usize]) -> Tensor {
                Tensor::from_vec(shape, values.to_vec()).unwrap()
            }

            fn applied(outputs: Vec<Tensor>, epilogue: Epilogue) -> Vec<Tensor> {
                $apply(outputs, epilogue).unwrap()
            }

            fn floats(tensor: &Tensor) -> &[f32] {
                tensor.as_slice().unwrap()
            }

            fn near(values: &[f32], expected: &[f32]) {
                assert_eq!(values.len(), expected.len());
                let far = |(a, b): (&f32, &f32)| (a - b).abs() >= 1e-6;
                assert!(!values.iter().zip(expected).any(far), "{values:?} for {expected:?}");
            }

            #[test]
            fn arg_max_drops_the_dimension_and_gives_bytes() {
                let planes = scores(&[1_f32, 5., 9., 2., 3., 4.], &[1, 3, 2]);
                let out = applied(vec![planes], Epilogue::ArgMax { dim: 1 });
                assert_eq!((out.len(), out[0].shape()), (1, &[1, 2][..]));
                assert_eq!(out[0].as_slice::<u8>().unwrap(), [1, 0]);
            }

            #[test]
            fn arg_max_is_along_any_dimension() {
                let planes = [1_f32, 5., 9., 2., 3., 4., 0., 7., 8., 6., 5., 4.];
                for (dim, shape, expected) in [
                    (0, &[3, 2][..], &[0_u8, 1, 0, 1, 1, 0][..]),
                    (1, &[2, 2], &[1, 0, 1, 0]),
                    (2, &[2, 3], &[1, 0, 1, 1, 0, 0]),
                ] {
                    let out = applied(vec![scores(&planes, &[2, 3, 2])], Epilogue::ArgMax { dim });
                    assert_eq!(out[0].shape(), shape);
                    assert_eq!(out[0].as_slice::<u8>().unwrap(), expected, "dimension {dim}");
                }
            }

            #[test]
            fn more_than_256_classes_keep_whole_numbers() {
                let count = |classes: u16| {
                    let values: Vec<f32> = (0..classes).map(f32::from).collect();
                    let many = scores(&values, &[1, values.len()]);
                    applied(vec![many], Epilogue::ArgMax { dim: 1 })
                };
                assert_eq!(count(256)[0].as_slice::<u8>().unwrap(), [255]);
                assert_eq!(count(257)[0].as_slice::<i64>().unwrap(), [256]);
            }

            #[test]
            fn a_single_logit_is_yes_above_zero() {
                let logits = scores(&[-1_f32, 0., 2.], &[1, 1, 3]);
                let out = applied(vec![logits], Epilogue::ArgMax { dim: 1 });
                assert_eq!(out[0].shape(), [1, 3]);
                assert_eq!(out[0].as_slice::<u8>().unwrap(), [0, 0, 1]);
            }

            #[test]
            fn the_winners_probability_is_its_softmax_or_its_sigmoid() {
                let epilogue = Epilogue::ArgMaxWithProbability { dim: 1 };
                let logs = [0.2_f32, 0.9, 0.8, 0.1].map(f32::ln);
                let out = applied(vec![scores(&logs, &[1, 2, 2])], epilogue);
                assert_eq!(out[0].as_slice::<u8>().unwrap(), [1, 0]);
                assert_eq!(out[1].shape(), [1, 2]);
                near(floats(&out[1]), &[0.8, 0.9]);
                // The sigmoid of ln 3 is 3 in 4, that of ln 1/4 is 1 in 5.
                let logs = [3_f32, 0.25].map(f32::ln);
                let out = applied(vec![scores(&logs, &[1, 1, 2])], epilogue);
                assert_eq!(out[0].as_slice::<u8>().unwrap(), [1, 0]);
                near(floats(&out[1]), &[0.75, 0.8]);
                // Of doubles as well, and a float all the same.
                let out = applied(vec![scores(&[0_f64, 0.], &[1, 2])], epilogue);
                near(floats(&out[1]), &[0.5]);
            }

            #[test]
            fn top_k_is_descending_and_no_longer_than_the_list() {
                let list = || vec![scores(&[1_f32, 3., 2., 9., 8., 9.5], &[2, 3])];
                let out = applied(list(), Epilogue::TopK { k: 5 });
                assert_eq!((out[0].shape(), out[1].shape()), (&[2, 3][..], &[2, 3][..]));
                assert_eq!(floats(&out[0]), [3., 2., 1., 9.5, 9., 8.]);
                assert_eq!(out[1].as_slice::<i64>().unwrap(), [1, 2, 0, 2, 0, 1]);
                let out = applied(list(), Epilogue::TopK { k: 1 });
                assert_eq!(out[0].shape(), [2, 1]);
                assert_eq!(out[1].as_slice::<i64>().unwrap(), [1, 2]);
            }

            #[test]
            fn softmax_keeps_the_type_and_sums_to_one() {
                let out = applied(vec![scores(&[0_f32; 4], &[1, 4])], Epilogue::Softmax { dim: 1 });
                near(floats(&out[0]), &[0.25; 4]);
                let logs = [0.2_f32, 0.9, 0.8, 0.1].map(f32::ln);
                let out = applied(vec![scores(&logs, &[1, 2, 2])], Epilogue::Softmax { dim: 1 });
                near(floats(&out[0]), &[0.2, 0.9, 0.8, 0.1]);
                let large = scores(&[1000_f64, 1000.], &[2]);
                let out = applied(vec![large], Epilogue::Softmax { dim: 0 });
                assert_eq!(out[0].as_slice::<f64>().unwrap(), [0.5, 0.5], "no overflow");
                let half = scores(&[f16::ZERO; 2], &[2]);
                let out = applied(vec![half], Epilogue::Softmax { dim: 0 });
                assert_eq!(out[0].as_slice::<f16>().unwrap(), [f16::from_f32(0.5); 2]);
                let half = scores(&[bf16::ZERO; 2], &[2]);
                let out = applied(vec![half], Epilogue::Softmax { dim: 0 });
                assert_eq!(out[0].dtype(), DType::BF16);
            }

            #[test]
            fn whole_numbers_have_a_largest_but_no_softmax() {
                let whole = || vec![scores(&[3_i64, -5, 7], &[1, 3])];
                let out = applied(whole(), Epilogue::ArgMax { dim: 1 });
                assert_eq!(out[0].as_slice::<u8>().unwrap(), [2]);
                let out = applied(whole(), Epilogue::TopK { k: 2 });
                assert_eq!(out[0].as_slice::<i64>().unwrap(), [7, 3]);
                assert!($apply(whole(), Epilogue::Softmax { dim: 1 }).is_err());
            }

            #[test]
            fn what_is_not_a_number_is_the_largest() {
                let list = || vec![scores(&[1_f32, f32::NAN, f32::INFINITY], &[1, 3])];
                let out = applied(list(), Epilogue::ArgMax { dim: 1 });
                assert_eq!(out[0].as_slice::<u8>().unwrap(), [1]);
                let out = applied(list(), Epilogue::TopK { k: 3 });
                assert_eq!(out[1].as_slice::<i64>().unwrap(), [1, 2, 0]);
                let out = applied(list(), Epilogue::Softmax { dim: 1 });
                assert!(floats(&out[0]).iter().all(|p| p.is_nan()));
                let out = applied(list(), Epilogue::ArgMaxWithProbability { dim: 1 });
                assert!(floats(&out[1])[0].is_nan());
            }

            #[test]
            fn no_requests_have_no_results() {
                let none = || vec![scores::<f32>(&[], &[0, 3, 2])];
                let out = applied(none(), Epilogue::ArgMax { dim: 1 });
                assert_eq!(out[0].shape(), [0, 2]);
                let out = applied(none(), Epilogue::Softmax { dim: 1 });
                assert_eq!(out[0].shape(), [0, 3, 2]);
            }

            #[test]
            fn a_missing_dimension_is_an_error_that_shows_the_shape() {
                for epilogue in [Epilogue::ArgMax { dim: 1 }, Epilogue::Softmax { dim: 1 }] {
                    let error = $apply(vec![scores(&[1_f32, 2.], &[2])], epilogue).unwrap_err();
                    assert!(error.to_string().contains("[2]"), "{error}");
                }
                let none = scores::<f32>(&[], &[1, 0]);
                assert!($apply(vec![none], Epilogue::ArgMax { dim: 1 }).is_err());
                let single = scores(&[1_f32], &[]);
                assert!($apply(vec![single], Epilogue::TopK { k: 1 }).is_err());
            }

            #[test]
            fn without_an_epilogue_every_output_is_kept_and_with_one_the_first() {
                let two = || vec![scores(&[1_f32], &[1]), scores(&[2_f32], &[1])];
                assert_eq!(applied(two(), Epilogue::None), two());
                assert_eq!(applied(two(), Epilogue::ArgMax { dim: 0 }).len(), 1);
            }
        }
    };
}

#[cfg(any(feature = "torch", feature = "onnx"))]
pub(crate) use epilogue_tests;

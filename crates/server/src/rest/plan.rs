//! Which addresses there are, and what each serves.

use anyhow::{Result, ensure};

use crate::access::Surface;
use crate::settings::{Address, Endpoint, Settings};

/// One address and what it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) endpoint: Endpoint,
    pub(crate) surfaces: Vec<Surface>,
    /// Whether Triton's clients are expected there.
    pub(crate) triton: bool,
}

/// The addresses to open. Surfaces of the same address share it; where that are predictions and
/// management, the figures are there as well as at their own address, as TorchServe has it.
///
/// # Errors
/// Where one address is to speak TLS and not to.
pub(crate) fn sites(settings: &Settings) -> Result<Vec<Site>> {
    let measured = settings.measuring.endpoint;
    let mut sites: Vec<Site> = Vec::new();
    let own = [
        (&settings.inference, Surface::Inference),
        (&settings.management, Surface::Management),
        (&settings.metrics, Surface::Metrics),
    ];
    let http = settings.triton.http.iter().map(|endpoint| (endpoint, Surface::Inference));
    let metrics = settings.triton.metrics.iter().map(|endpoint| (endpoint, Surface::Metrics));
    let own = own.into_iter().map(|(endpoint, surface)| (endpoint, surface, false));
    let all = own.chain(http.chain(metrics).map(|(endpoint, surface)| (endpoint, surface, true)));
    for (endpoint, surface, triton) in all {
        if surface == Surface::Metrics && !measured {
            continue;
        }
        let Some(site) = sites.iter_mut().find(|site| same(&site.endpoint, endpoint)) else {
            sites.push(Site { endpoint: endpoint.clone(), surfaces: vec![surface], triton });
            continue;
        };
        ensure!(
            site.endpoint.tls == endpoint.tls,
            "{} and {endpoint} are one address; let both speak TLS or neither",
            site.endpoint
        );
        // As large a body as Triton's clients expect, wherever they come.
        site.triton |= triton;
        if !site.surfaces.contains(&surface) {
            site.surfaces.push(surface);
        }
        if surface == Surface::Management && measured {
            site.surfaces.push(Surface::Metrics);
        }
    }
    Ok(sites)
}

/// Whether two endpoints are one address. Port 0 is another free port each time.
fn same(a: &Endpoint, b: &Endpoint) -> bool {
    match &a.address {
        Address::Tcp(address) if address.port() == 0 => false,
        address => *address == b.address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Surface::{Inference, Management, Metrics};

    fn http(port: u16) -> Endpoint {
        Endpoint { address: Address::Tcp(([127, 0, 0, 1], port).into()), tls: false }
    }

    fn served(inference: u16, management: u16, metrics: u16) -> Vec<(String, Vec<Surface>)> {
        let (inference, management) = (http(inference), http(management));
        let settings =
            Settings { inference, management, metrics: http(metrics), ..Settings::default() };
        let sites = sites(&settings).unwrap().into_iter();
        sites.map(|site| (site.endpoint.to_string(), site.surfaces)).collect()
    }

    fn at(port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }

    #[test]
    fn three_addresses_serve_one_surface_each() {
        let alone = |port, surface| (at(port), vec![surface]);
        assert_eq!(served(1, 2, 3), [alone(1, Inference), alone(2, Management), alone(3, Metrics)]);
        assert_eq!(
            served(0, 0, 0),
            [alone(0, Inference), alone(0, Management), alone(0, Metrics)],
            "free ports are never the same"
        );
    }

    #[test]
    fn the_same_address_is_shared() {
        let all = vec![Inference, Management, Metrics];
        assert_eq!(served(1, 1, 1), [(at(1), all.clone())]);
        assert_eq!(served(1, 1, 3), [(at(1), all), (at(3), vec![Metrics])]);
        assert_eq!(served(1, 2, 2), [(at(1), vec![Inference]), (at(2), vec![Management, Metrics])]);
        assert_eq!(served(1, 2, 1), [(at(1), vec![Inference, Metrics]), (at(2), vec![Management])]);
    }

    #[test]
    fn metrics_that_are_off_have_no_address() {
        let mut settings =
            Settings { management: http(8080), metrics: http(8080), ..Settings::default() };
        settings.measuring.endpoint = false;
        let surfaces = vec![Inference, Management];
        let site = Site { endpoint: http(8080), surfaces, triton: false };
        assert_eq!(sites(&settings).unwrap(), [site]);
    }

    #[test]
    fn tritons_addresses_are_beside_the_others_unless_they_are_one_of_them() {
        let mut settings = Settings {
            inference: http(1),
            management: http(2),
            metrics: http(3),
            ..Settings::default()
        };
        (settings.triton.http, settings.triton.metrics) = (Some(http(8000)), Some(http(8002)));
        let of = |settings: &Settings| {
            let sites = sites(settings).unwrap();
            sites
                .into_iter()
                .filter(|s| s.triton)
                .map(|s| (s.endpoint.to_string(), s.surfaces, s.triton))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of(&settings),
            [(at(8000), vec![Inference], true), (at(8002), vec![Metrics], true)]
        );
        settings.triton.metrics = Some(http(3));
        let own = (at(3), vec![Metrics], true);
        assert_eq!(of(&settings), [own, (at(8000), vec![Inference], true)]);
        settings.triton.http = Some(http(1));
        settings.triton.metrics = None;
        assert_eq!(of(&settings), [(at(1), vec![Inference], true)]);
        settings.triton.http = Some(http(8000));
        settings.measuring.endpoint = false;
        settings.triton.metrics = Some(http(8002));
        assert_eq!(of(&settings), [(at(8000), vec![Inference], true)], "no figures, no address");
    }

    #[test]
    fn one_address_speaks_tls_or_does_not() {
        let management = Endpoint { tls: true, ..http(8080) };
        let settings = Settings { management, ..Settings::default() };
        let error = sites(&settings).unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:8080"), "{error}");
        assert!(error.contains("https://127.0.0.1:8080"), "{error}");
    }
}

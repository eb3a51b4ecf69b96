//! A DNS server of a test's own, which knows one thing: where the instances of a service listen.

use std::net::UdpSocket;
use std::thread;

/// A header has so many bytes.
const HEADER: usize = 12;
const SRV: u16 = 33;
const INTERNET: u16 = 1;

/// Answers every question for SRV records with these ports of `localhost`, and every other with nothing, until the
/// process ends. Returns where it listens.
///
/// # Panics
/// When there is no free port.
pub fn serve(ports: Vec<u16>) -> String {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
    let address = socket.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            if let Some(answer) = answer(&question[..length], &ports) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    address
}

fn answer(question: &[u8], ports: &[u16]) -> Option<Vec<u8>> {
    let name = question.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let asked = question.get(HEADER..HEADER + name + 4)?;
    let kind = u16::from_be_bytes([asked[name], asked[name + 1]]);
    let ports = if kind == SRV { ports } else { &[] };
    let mut answer = question.get(..2)?.to_vec();
    // An answer, recursion available, no error; one question, so many answers.
    answer.extend([0x81, 0x80, 0, 1, 0, ports.len() as u8, 0, 0, 0, 0]);
    answer.extend(asked);
    for port in ports {
        let target = b"\x09localhost\x00";
        // The name of the question, by reference.
        answer.extend([0xC0, HEADER as u8]);
        answer.extend([SRV.to_be_bytes(), INTERNET.to_be_bytes()].concat());
        answer.extend(1_u32.to_be_bytes());
        answer.extend((6 + target.len() as u16).to_be_bytes());
        answer.extend([[0, 0], [0, 0], port.to_be_bytes()].concat());
        answer.extend(target);
    }
    Some(answer)
}

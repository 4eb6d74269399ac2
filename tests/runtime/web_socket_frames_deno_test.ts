import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { encodeFrame, frameReader, OPCODE } from "../../src/runtime/web_socket_frames.ts";
import { handshakeAnswer, handshakeRequest } from "../../src/runtime/web_socket_handshake.ts";

const bytes = (...values: number[]) => Uint8Array.from(values);
const HELLO = bytes(0x48, 0x65, 0x6c, 0x6c, 0x6f);

/** The examples of RFC 6455, section 5.7. */
const examples: readonly (readonly [what: string, isMasked: boolean, frames: Uint8Array, opcode: number])[] = [
  ["an unmasked text", false, bytes(0x81, 5, ...HELLO), OPCODE.text],
  ["a masked text", true, bytes(0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58), OPCODE.text],
  ["a fragmented text", false, bytes(0x01, 3, 0x48, 0x65, 0x6c, 0x80, 2, 0x6c, 0x6f), OPCODE.text],
  ["a ping", false, bytes(0x89, 5, ...HELLO), OPCODE.ping],
];
for (const [what, isMasked, frames, opcode] of examples) {
  test(`frameReader() reads ${what} of RFC 6455 byte by byte`, () => {
    const reader = frameReader(isMasked, 1_000);
    for (const byte of frames.subarray(0, -1)) {
      reader.push(bytes(byte));
      assert.equal(reader.next(), undefined);
      assert.equal(reader.isPartial, true);
    }
    reader.push(frames.subarray(-1));
    assert.deepEqual(reader.next(), { opcode, payload: HELLO });
    assert.equal(reader.isPartial, false);
  });
}

test("frameReader() gives back what encodeFrame() wrote, however it is cut", () => {
  const sizes = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.constantFrom(125, 126, 65_535, 65_536, 70_001));
  fc.assert(fc.property(fc.array(sizes, { maxLength: 5 }), fc.boolean(), fc.integer({ min: 1, max: 5_000 }), check), {
    numRuns: 60,
  });
  function check(lengths: readonly number[], isMasked: boolean, cut: number): void {
    const payloads = lengths.map((length, i) => new Uint8Array(length).map((_, n) => n * 7 + i));
    const reader = frameReader(isMasked, 100_000);
    const got: unknown[] = [];
    for (const payload of payloads) {
      const frame = encodeFrame(OPCODE.binary, payload, isMasked);
      for (let from = 0; from < frame.length; from += cut) {
        reader.push(frame.slice(from, from + cut));
        for (let next = reader.next(); next; next = reader.next()) got.push(next);
      }
    }
    assert.deepEqual(got, payloads.map((payload) => ({ opcode: OPCODE.binary, payload })));
  }
});

test("encodeFrame() masks each frame with other bytes, and leaves its argument as it is", () => {
  const payload = new Uint8Array(64);
  const masks = new Set(Array.from({ length: 20 }, () => `${encodeFrame(OPCODE.binary, payload, true).slice(2, 6)}`));
  assert.equal(masks.size, 20);
  assert.deepEqual(payload, new Uint8Array(64));
});

const faults: readonly (readonly [what: string, isMasked: boolean, frames: Uint8Array, fault: number])[] = [
  ["a reserved bit", false, bytes(0xc1, 0), 1002],
  ["a reserved opcode", false, bytes(0x83, 0), 1002],
  ["a reserved control opcode", false, bytes(0x8b, 0), 1002],
  ["a fragmented ping", false, bytes(0x09, 0), 1002],
  ["a long ping", false, bytes(0x89, 126, 0, 126), 1002],
  ["a continuation of nothing", false, bytes(0x80, 0), 1002],
  ["a text within a text", false, bytes(0x01, 0, 0x81, 0), 1002],
  ["a mask from a server", false, bytes(0x81, 0x80, 0, 0, 0, 0), 1002],
  ["no mask from a client", true, bytes(0x81, 0), 1002],
  ["a message too large", false, bytes(0x82, 126, 0x03, 0xe9), 1009],
  ["a message too large in pieces", false, bytes(0x02, 1, 7, 0x80, 126, 0x03, 0xe8), 1009],
  ["a length of 2 ** 64 - 1", false, bytes(0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255), 1009],
  ["1,025 fragments", false, Uint8Array.from({ length: 2_052 }, (_, i) => i === 0 ? 2 : 0), 1008],
];
for (const [what, isMasked, frames, fault] of faults) {
  test(`frameReader() refuses ${what}, for good`, () => {
    const reader = frameReader(isMasked, 1_000);
    reader.push(frames);
    const got = reader.next();
    assert.equal(got && "fault" in got && got.fault, fault);
    reader.push(bytes(0x81, 0));
    assert.equal(reader.next(), got);
  });
}

test("handshakeAnswer() answers the key of RFC 6455, section 1.3", () => {
  assert.match(
    handshakeAnswer("dGhlIHNhbXBsZSBub25jZQ==", "p"),
    /\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/,
  );
});

const answers: readonly (readonly [what: string, change: (head: string) => string, protocol: string | undefined])[] = [
  ["takes the answer of a server", (head) => head, "p"],
  ["takes other spelling", (head) => head.replace("Upgrade: websocket", "UPGRADE:WebSocket"), "p"],
  ["takes other headers", (head) => `${head}\r\nDate: now`, "p"],
  ["refuses a status of 200", (head) => head.replace("101", "200"), undefined],
  ["refuses HTTP/1.0", (head) => head.replace("HTTP/1.1", "HTTP/1.0"), undefined],
  ["refuses an answer to another key", (head) => head.replace(/Accept: ./, "Accept: !"), undefined],
  ["refuses two answers to the key", (head) => `${head}\r\n${/Sec-WebSocket-Accept.*/.exec(head)![0]}`, undefined],
  ["refuses an extension", (head) => `${head}\r\nSec-WebSocket-Extensions: permessage-deflate`, undefined],
  ["refuses a subprotocol it did not offer", (head) => head.replace("Protocol: p", "Protocol: q"), undefined],
  ["refuses no subprotocol", (head) => head.replace(/\r\nSec-WebSocket-Protocol.*/, ""), undefined],
  ["refuses another upgrade", (head) => head.replace("websocket", "h2c"), undefined],
  ["refuses no upgrade", (head) => head.replace("Connection: Upgrade", "Connection: close"), undefined],
  ["refuses a folded header", (head) => `${head}\r\n folded: yes`, undefined],
  ["refuses a line without a colon", (head) => `${head}\r\nnonsense`, undefined],
];
for (const [what, change, protocol] of answers) {
  test(`handshakeRequest() ${what}`, () => {
    const request = handshakeRequest(new URL("wss://localhost:8443/a?b"), ["p"]);
    const key = /Sec-WebSocket-Key: (.*)\r\n/.exec(request.head)![1]!;
    assert.match(request.head, /^GET \/a\?b HTTP\/1\.1\r\nHost: localhost:8443\r\n/);
    assert.equal(request.read(change(handshakeAnswer(key, "p").trimEnd())), protocol);
  });
}

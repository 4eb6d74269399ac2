import { contentDigest } from "../../src/auth/content_digest.ts";
import { toBase64 } from "../../src/internal/base64.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

// RFC 9530 section B.1, the body of RFC 9421 section B.2 (the same without its line break), and the digest of nothing.
const vectors: readonly [title: string, body: string, digest: string][] = [
  ["the body of RFC 9530 section B.1", `{"hello": "world"}\n`, "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="],
  ["the body of RFC 9421 section B.2", `{"hello": "world"}`, "X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="],
  ["an empty body", "", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="],
];
for (const [title, body, digest] of vectors) {
  test(`contentDigest() gives the SHA-256 of ${title}`, async () => {
    assert.equal(await contentDigest(new TextEncoder().encode(body)), `sha-256=:${digest}:`);
  });
}

for (const length of [0, 1, 2_047, 4_096, 4_097, 100_000]) {
  test(`contentDigest() of ${length} bytes is the one of WebCrypto`, async () => {
    const body = Uint8Array.from({ length }, (_, i) => i * 7);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
    assert.equal(await contentDigest(body), `sha-256=:${toBase64(hash)}:`);
  });
}

test("contentDigest() is there at once for a small body", () => {
  assert.equal(typeof contentDigest(new Uint8Array(4_096)), "string");
  assert.ok(contentDigest(new Uint8Array(4_097)) instanceof Promise);
});

import { AuthError } from "../../src/auth/mod.ts";
import { parseSpiffeId, parseWorkloadId, trustDomainId } from "../../src/auth/spiffe_id.ts";
import fc from "fast-check";
import assert from "node:assert/strict";
import { describe, test } from "node:test";

const malformed = (error: unknown) => {
  assert.ok(error instanceof AuthError, `expected an AuthError, got ${error}`);
  assert.equal(error.reason, "malformed_id");
  return true;
};
const at = (path: string) => `spiffe://example.org${path}`;

const good: readonly [id: string, trustDomain: string, path: string][] = [
  ["spiffe://example.org/orders", "example.org", "/orders"],
  ["spiffe://example.org", "example.org", ""],
  ["spiffe://example.org/a/b/c", "example.org", "/a/b/c"],
  ["spiffe://example.org/A.b_c-D9", "example.org", "/A.b_c-D9"],
  ["spiffe://10.0.0.1/orders", "10.0.0.1", "/orders"],
  ["spiffe://a_b-c.9/orders", "a_b-c.9", "/orders"],
  ["spiffe://example.org/.hidden", "example.org", "/.hidden"],
  ["spiffe://example.org/..hidden/x", "example.org", "/..hidden/x"],
  ["spiffe://example.org/.../x", "example.org", "/.../x"],
  ["spiffe://example.org/a./b..", "example.org", "/a./b.."],
  [`spiffe://${"a".repeat(255)}/x`, "a".repeat(255), "/x"],
  [at("/" + "p".repeat(2048 - 21)), "example.org", "/" + "p".repeat(2048 - 21)],
];

/** What others have taken for `spiffe://example.org/orders`, or for an id at all. */
const lookAlikes: readonly [title: string, id: string][] = [
  ["nothing", ""],
  ["no scheme", "example.org/orders"],
  ["a relative reference", "//example.org/orders"],
  ["another scheme", "https://example.org/orders"],
  ["the scheme of another draft", "wimse://example.org/orders"],
  ["an upper-case scheme", "SPIFFE://example.org/orders"],
  ["a scheme with one upper-case letter", "Spiffe://example.org/orders"],
  ["a scheme inside of a text", "x-spiffe://example.org/orders"],
  ["one slash after the scheme", "spiffe:/example.org/orders"],
  ["no slash after the scheme", "spiffe:example.org/orders"],
  ["three slashes after the scheme", "spiffe:///example.org/orders"],
  ["backslashes after the scheme", "spiffe:\\\\example.org/orders"],
  ["an upper-case trust domain", "spiffe://EXAMPLE.ORG/orders"],
  ["one upper-case letter in the trust domain", "spiffe://Example.org/orders"],
  ["no trust domain", "spiffe:///orders"],
  ["neither trust domain nor path", "spiffe://"],
  ["a port", "spiffe://example.org:443/orders"],
  ["an empty port", "spiffe://example.org:/orders"],
  ["a user", "spiffe://admin@example.org/orders"],
  ["a user and a password", "spiffe://a:b@example.org/orders"],
  ["an IPv6 address", "spiffe://[::1]/orders"],
  ["an escaped dot in the trust domain", "spiffe://example%2eorg/orders"],
  ["a trust domain with a space", "spiffe://example .org/orders"],
  ["a trust domain with a wildcard", "spiffe://*.example.org/orders"],
  ["a trust domain that is too long", `spiffe://${"a".repeat(256)}/orders`],
  ["a Cyrillic letter in the trust domain", "spiffe://ex\u0430mple.org/orders"],
  ["a full-width trust domain", "spiffe://ｅxample.org/orders"],
  ["an ideographic full stop", "spiffe://example\u3002org/orders"],
  ["a soft hyphen in the trust domain", "spiffe://exam\u00adple.org/orders"],
  ["a slash at the end", at("/orders/")],
  ["a slash and no path", at("/")],
  ["two slashes at the end", at("/orders//")],
  ["an empty segment at the start", at("//orders")],
  ["an empty segment in the middle", at("/a//orders")],
  ["a dot as a segment", at("/./orders")],
  ["a dot as the last segment", at("/orders/.")],
  ["a dot as the only segment", at("/.")],
  ["two dots as a segment", at("/x/../orders")],
  ["two dots as the last segment", at("/orders/..")],
  ["two dots as the only segment", at("/..")],
  ["an escaped letter", at("/%6frders")],
  ["an escaped slash", at("/a%2forders")],
  ["escaped dots", at("/%2e%2e/orders")],
  ["a lone percent sign", at("/orders%")],
  ["an escaped NUL", at("/orders%00")],
  ["a NUL", at("/orders\0")],
  ["a backslash for a slash", at("\\orders")],
  ["a backslash in the path", at("/a\\orders")],
  ["a query", at("/orders?x=1")],
  ["an empty query", at("/orders?")],
  ["a query after the trust domain", at("?x")],
  ["a fragment", at("/orders#x")],
  ["an empty fragment", at("/orders#")],
  ["a path parameter", at("/orders;v=1")],
  ["a plus for a space", at("/or+ders")],
  ["a tilde", at("/~orders")],
  ["an at sign in the path", at("/orders@x")],
  ["a colon in the path", at("/orders:x")],
  ["a wildcard", at("/*")],
  ["a space before", " " + at("/orders")],
  ["a space after", at("/orders ")],
  ["a newline after", at("/orders\n")],
  ["a carriage return after", at("/orders\r")],
  ["a newline and another id", at("/orders\n") + at("/web")],
  ["two ids and a comma", at("/orders,") + at("/web")],
  ["a tab inside", at("/or\tders")],
  ["a byte order mark before", "\ufeff" + at("/orders")],
  ["a zero-width space inside", at("/or\u200bders")],
  ["a right-to-left override", at("/\u202eorders")],
  ["a Cyrillic letter in the path", at("/\u043erders")],
  ["an umlaut, composed", at("/b\u00fcro")],
  ["an umlaut, decomposed", at("/bu\u0308ro")],
  ["a division slash", at("\u2215orders")],
  ["a full-width slash", at("\uff0forders")],
  ["a long s, which folds to s", at("/order\u017f")],
  ["a Kelvin sign, which folds to k", at("/\u212aey")],
  ["a lone surrogate", at("/\ud800")],
  ["2,049 bytes", at("/" + "p".repeat(2048 - 20))],
];

describe("parseSpiffeId()", () => {
  for (const [id, trustDomain, path] of good) {
    test(`parseSpiffeId() reads ${id.slice(0, 60)}`, () => {
      assert.deepEqual(parseSpiffeId(id), { trustDomain, path });
    });
  }

  for (const [title, id] of lookAlikes) {
    test(`parseSpiffeId() refuses ${title}`, () => assert.throws(() => parseSpiffeId(id), malformed));
  }

  test("parseSpiffeId() refuses what is no text, even if it prints like an id", () => {
    for (
      const value of [undefined, null, 1, [at("/orders")], new String(at("/orders")), { toString: () => at("/x") }]
    ) {
      assert.throws(() => parseSpiffeId(value as string), malformed);
    }
  });

  /** The rules once more, without a regular expression. */
  function isCanonical(id: string): boolean {
    if (!id.startsWith("spiffe://") || id.length > 2048) return false;
    const [trustDomain = "", ...segments] = id.slice("spiffe://".length).split("/");
    const consistsOf = (text: string, alphabet: string) => [...text].every((char) => alphabet.includes(char));
    const lower = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    return trustDomain !== "" && trustDomain.length <= 255 && consistsOf(trustDomain, lower) &&
      segments.every((each) =>
        each !== "" && each !== "." && each !== ".." && consistsOf(each, lower + lower.toUpperCase())
      );
  }

  const accepts = (id: string) => {
    try {
      const { trustDomain, path } = parseSpiffeId(id);
      assert.equal(`spiffe://${trustDomain}${path}`, id);
      return true;
    } catch (error) {
      assert.ok(malformed(error));
      return false;
    }
  };

  /** Lone surrogates and control characters too. */
  const anyText = fc.array(fc.nat({ max: 0xffff }), { maxLength: 60 }).map((units) => String.fromCharCode(...units));

  test("parseSpiffeId() throws nothing but AuthError for any text", () => {
    fc.assert(fc.property(anyText, (text) => {
      assert.equal(accepts(text), isCanonical(text));
      assert.equal(accepts(at(text)), isCanonical(at(text)));
    }));
  });

  test("parseSpiffeId() accepts exactly the canonical of what is made of an id's parts", () => {
    const part = fc.constantFrom(
      "spiffe://",
      "example.org",
      "/",
      ".",
      "..",
      "%2e",
      "a",
      "A",
      ":",
      "@",
      "?",
      "#",
      "\n",
      "é",
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        for (const id of [parts.join(""), at(parts.join(""))]) assert.equal(accepts(id), isCanonical(id), id);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("parseWorkloadId()", () => {
  test("parseWorkloadId() reads the id of a workload", () => {
    assert.deepEqual(parseWorkloadId(at("/orders")), { trustDomain: "example.org", path: "/orders" });
  });

  test("parseWorkloadId() refuses a trust domain alone", () => {
    assert.throws(() => parseWorkloadId("spiffe://example.org"), malformed);
  });

  test("parseWorkloadId() refuses what is no id", () => assert.throws(() => parseWorkloadId(at("/x/")), malformed));
});

describe("trustDomainId()", () => {
  test("trustDomainId() is the scheme and the trust domain", () => {
    assert.equal(trustDomainId("example.org"), "spiffe://example.org");
  });

  for (const text of ["", "/", "example.org/", "example.org/orders", "Example.org", "example.org:443", "a@b", "a b"]) {
    test(`trustDomainId() refuses "${text}"`, () => assert.throws(() => trustDomainId(text), malformed));
  }
});

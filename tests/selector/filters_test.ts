import { inRegion, inVersions } from "../../src/selector/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { instanceOf } from "./_pool.ts";

const at = (version: string) => instanceOf("spiffe://example.org/shop", "i0", { version });

test("inRegion() accepts instances of the regions, and none that names none", () => {
  const accepts = inRegion("eu-west", "eu-north");
  const region = (name?: string) => accepts(instanceOf("spiffe://example.org/shop", "i0", { region: name }));
  assert.deepEqual(["eu-west", "eu-north", "eu", "us-east", undefined].map(region), [true, true, false, false, false]);
});

test("inRegion() refuses to filter by nothing", () => {
  assert.throws(() => inRegion(), { name: "TypeError", message: "Cannot filter by region: none is given" });
});

/** Section 11 of Semantic Versioning and more, in order. */
const ORDER = [
  "0.0.0-0",
  "0.0.0",
  "0.0.1",
  "0.9.0",
  "0.10.0",
  "1.0.0--",
  "1.0.0-0",
  "1.0.0-2",
  "1.0.0-10",
  "1.0.0-10.0",
  "1.0.0--1",
  "1.0.0-1a",
  "1.0.0-A",
  "1.0.0-alpha",
  "1.0.0-alpha.1",
  "1.0.0-alpha.beta",
  "1.0.0-beta",
  "1.0.0-beta.2",
  "1.0.0-beta.11",
  "1.0.0-rc.1",
  "1.0.0",
  "1.0.1",
  "2.0.0",
  "10.0.0",
  "999999999.999999999.999999999",
].filter((version) => version !== "1.0.0--");

test("inVersions() compares as Semantic Versioning does", () => {
  ORDER.forEach((limit, i) => {
    assert.deepEqual(ORDER.filter((version) => inVersions({ from: limit })(at(version))), ORDER.slice(i), limit);
    assert.deepEqual(ORDER.filter((version) => inVersions({ below: limit })(at(version))), ORDER.slice(0, i), limit);
  });
});

test("inVersions() takes the first version of a range, and not the end", () => {
  const accepts = inVersions({ from: "2.0.0", below: "3.0.0-0" });
  const taken = ["1.9.9", "2.0.0-rc.1", "2.0.0", "2.1.0-0", "2.99.9", "3.0.0-0", "3.0.0-rc.1", "3.0.0"].filter((v) =>
    accepts(at(v))
  );
  assert.deepEqual(taken, ["2.0.0", "2.1.0-0", "2.99.9"]);
});

for (
  const version of ["", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.0-", "1.0.0-a..b", "1.0.0+build", " 1.0.0", "1.0.0\n"]
) {
  test(`inVersions() refuses ${JSON.stringify(version)} as a limit`, () => {
    for (const range of [{ from: version }, { below: version }]) {
      assert.throws(() => inVersions(range), {
        name: "TypeError",
        message: `Cannot filter by version: "${version}" is none`,
      });
    }
  });
}

test("inVersions() refuses a range without limits, and one without versions", () => {
  assert.throws(() => inVersions({}), { name: "TypeError", message: /no limit is given/ });
  for (const [from, below] of [["2.0.0", "1.0.0"], ["1.0.0", "1.0.0"], ["1.0.0", "1.0.0-rc.1"]] as const) {
    assert.throws(() => inVersions({ from, below }), { name: "TypeError", message: /no version is in the range/ });
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkApi } from "../../tools/check_api.ts";

const messages = (...args: Parameters<typeof checkApi>) => checkApi(...args).map(({ message }) => message);

test("checkApi() accepts what the snapshot holds", () => {
  assert.deepEqual(messages({ ".": ["a", "b"] }, { ".": ["a", "b"] }), []);
});

test("checkApi() names what was added and what is gone", () => {
  const found = messages({ ".": ["a", "c"], "./new": ["d"] }, { ".": ["a", "b"], "./old": ["e"] });
  assert.deepEqual(found, [
    '"." now exports c',
    '"." no longer exports b',
    '"./new" now exports d',
    '"./old" no longer exports e',
  ]);
});

test("checkApi() refuses more than 25 names in the root", () => {
  const names = Array.from({ length: 26 }, (_, i) => `name${i}`);
  assert.deepEqual(messages({ ".": names }, { ".": names }), ['"." exports 26 names, 25 are allowed']);
  assert.deepEqual(messages({ "./rpc": names }, { "./rpc": names }), []);
});

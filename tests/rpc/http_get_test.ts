import assert from "node:assert/strict";
import { test } from "node:test";
import { echoServer, ORIGIN, post, refusalOf } from "./_rig.ts";

const MESSAGE = '{"text":"ab"}';
const padded = btoa(MESSAGE);
const bare = padded.replaceAll("=", "");

/** A safe call by GET, its message in base64. */
function get(base64: string): Request {
  return new Request(`${ORIGIN}/echo.v1/look?encoding=json&base64=1&message=${encodeURIComponent(base64)}`);
}

test("the message of these tests ends in two paddings", () => assert.ok(padded.endsWith("==")));

const good: readonly (readonly [name: string, base64: string])[] = [["with padding", padded], [
  "without padding",
  bare,
]];
for (const [name, base64] of good) {
  test(`createServer().fetch answers a GET in canonical base64 ${name}`, async () => {
    const response = await echoServer().server.fetch(get(base64));
    assert.deepEqual([response.status, await response.json()], [200, { text: "ab" }]);
  });
}

/** The last letter with a bit set that stands for nothing. */
const stray = bare.slice(0, -1) + String.fromCharCode(bare.charCodeAt(bare.length - 1) + 1);

const wrong: readonly (readonly [name: string, base64: string])[] = [
  ["a space in it", `${bare.slice(0, 4)} ${bare.slice(4)}`],
  ["a space behind it", `${bare} `],
  ["a space before it", ` ${bare}`],
  ["a newline in it", `${bare.slice(0, 4)}\n${bare.slice(4)}`],
  ["a newline behind it", `${padded}\n`],
  ["a tab behind it", `${bare}\t`],
  ["stray bits", stray],
  ["stray bits and padding", `${stray}==`],
  ["three paddings", `${bare}===`],
  ["four paddings", `${bare}====`],
  ["padding in the middle", `${bare.slice(0, 4)}=${bare.slice(4)}`],
  ["one letter too many", `${bare.slice(0, -1)}`.slice(0, 17)],
  ["a letter of another alphabet", `${bare.slice(0, -1)}*`],
];
for (const [name, base64] of wrong) {
  test(`createServer().fetch refuses a GET in base64 with ${name}`, async () => {
    const { server, calls } = echoServer();
    const refusal = await refusalOf(await server.fetch(get(base64)));
    assert.deepEqual([refusal.status, refusal.code], [400, "invalid_argument"]);
    assert.match(refusal.message, /base64url/);
    assert.deepEqual(calls, []);
  });
}

for (const verb of ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]) {
  for (const [method, allow] of [["look", "GET, POST"], ["say", "POST"]] as const) {
    test(`createServer().fetch answers ${verb} of ${method} with 405 and says ${allow}`, async () => {
      const { server, calls } = echoServer();
      const response = await server.fetch(new Request(`${ORIGIN}/echo.v1/${method}`, { method: verb }));
      assert.deepEqual([response.status, response.headers.get("allow")], [405, allow]);
      assert.deepEqual(calls, []);
    });
  }
}

test("createServer().fetch answers a GET of a method that is not safe with 405 and says POST", async () => {
  const { server, calls } = echoServer();
  const response = await server.fetch(new Request(`${ORIGIN}/echo.v1/say?encoding=json&message=${MESSAGE}`));
  assert.deepEqual([response.status, response.headers.get("allow")], [405, "POST"]);
  assert.equal((await server.fetch(post("/echo.v1/look", { text: "a" }))).status, 200);
  assert.equal(calls.length, 1);
});

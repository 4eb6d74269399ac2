import assert from "node:assert/strict";
import { test } from "node:test";
import type { Planted } from "./T8_planting.ts";

// The attacker reads whatever a service and its callers print: output, logs, errors with their causes and stacks, audit
// events, traces, objects that somebody printed while looking for a mistake. T8, T30: what makes them somebody else.

const ROOT = new URL("../../", import.meta.url).pathname;

/** How the program's attempts must end, so that each of them was one. */
const ENDS: Readonly<Record<string, readonly string[]>> = {
  ok: ["call", "call with a right", "call that hands a right on"],
  unavailable: [
    ...["signature of another", "no signature", "signature that is none", "terms that are none", "token that is none"],
    ...["token with a changed signature", "digest of another body", "proof of long ago", "peer that is another"],
    ...["answer of another", "audience that is another", "token that has ended", "answer that was changed"],
    ...["answer that nobody signed", "answer that is an error page", "revoked caller", "audit that is full"],
    "server that is gone",
  ],
  unauthenticated: ["replay"],
  permission_denied: [
    ...["method of nobody", "method that is none", "method without a right", "right for other arguments"],
    ...["right of another", "authorization of another kind", "join token that was used", "evidence of no kind"],
    ...["token of another as evidence", "right that is none"],
  ],
  internal: [
    ...["handler that fails", "handler that lies", "answer of an unproven server that lies", "answer that is no JSON"],
  ],
  failed_precondition: ["handler that refuses"],
  deadline_exceeded: ["deadline"],
  canceled: ["caller that gives up"],
  invalid_argument: [
    ...["message with a member too many", "message with a member of another type", "message with a text"],
    ...["message with a list", "message that the client refuses", "message that cannot be encoded"],
    "message that is no JSON",
  ],
  not_attested: ["enrollment in this process"],
  malformed_key: ["key that is none"],
};

/** Why the services must have refused, by their own audit: each check has said something. */
const REASONS = [
  ...["argument_not_allowed", "authority.revoke", "bad_digest", "bad_signature", "bad_token_signature", "call.allow"],
  ...["credential.issue", "expired_token", "malformed_chain", "malformed_signature", "malformed_token", "not_allowed"],
  ...[
    "not_attested",
    "not_decided",
    "replayed",
    "revoked",
    "stale",
    "unsigned",
    "wrong_audience",
    "wrong_holder",
    "wrong_peer",
  ],
];

/** Of which kinds there must be secrets. */
const KINDS = [
  ...[
    "private key",
    "join token",
    "identity token",
    "right",
    "delegation",
    "request",
    "response",
    "signature",
    "nonce",
  ],
  "bearer",
];

async function run(): Promise<{ readonly output: string; readonly planted: Planted }> {
  const path = await Deno.makeTempFile({ prefix: "canaries-" });
  try {
    const args = ["run", "-A", "--no-prompt", "tests/threats/T8_canaries_program.ts", path];
    const env = { NO_COLOR: "1" };
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env }).output();
    const output = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
    assert.ok(success, output.slice(-2_000));
    return { output, planted: JSON.parse(await Deno.readTextFile(path)) };
  } finally {
    await Deno.remove(path);
  }
}

test("T8 T30 a protected service shows no key, token, right, signature or payload, however its calls end", async () => {
  const { output, planted: { needles } } = await run();

  const steps = [...output.matchAll(/^step (.+): (.+)$/gm)].map(([, name, end]) => `${name}: ${end}`);
  assert.deepEqual(
    steps.sort(),
    Object.entries(ENDS).flatMap(([end, names]) => names.map((n) => `${n}: ${end}`)).sort(),
  );
  assert.deepEqual(/^audit (?=arg)(.+)$/m.exec(output)?.[1]?.split(" "), REASONS);
  assert.match(
    output,
    /"cause":\{"name":"Error","message":"the database is down","stack":".+no route/,
    "causes are logged",
  );
  assert.match(output, /^traceparent 00-\w{32}-\w{16}-\w{2}$/m);
  assert.deepEqual(Object.keys(needles).sort(), [...KINDS, "control"].sort());

  const leaked = Object.entries(needles).flatMap(([what, texts]) => {
    assert.ok(texts.every((text) => text.length >= 15), `${what} is too short to be recognized`);
    const line = output.split("\n").find((line) => texts.some((text) => line.includes(text)));
    return line === undefined ? [] : [`${what}: ${line.slice(0, 300)}`];
  });
  assert.deepEqual(leaked, ["control: control-that-is-found"]);
});

import assert from "node:assert/strict";
import { test } from "node:test";

const ROOT = new URL("../../", import.meta.url).pathname;

/** A task of deno.json as a child process. */
function task(name: string): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", name],
    cwd: ROOT,
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function outputOf(name: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await task(name).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** Whether nothing listens there yet. */
function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}

async function hasCurl(): Promise<boolean> {
  try {
    const { success } = await new Deno.Command("curl", { args: ["--version"], stdout: "null", stderr: "null" })
      .output();
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

test("task demo() tells its story to the end", async () => {
  const { code, stdout, stderr } = await outputOf("demo");
  assert.equal(code, 0, stderr);
  assert.equal(stderr, "");
  const steps = [...stdout.matchAll(/^(\d+)\. /gm)].map(([, number]) => Number(number));
  assert.deepEqual(steps, steps.map((_, index) => index + 1));
  const told = [
    /https:\/\/localhost:\d+/,
    /Hello, Ada!/,
    /refused: invalid_argument: .*name/,
    /refused: 400 invalid_argument: .*role/,
    /the server's log: invalid_argument [0-9a-f-]{36} /,
    /refused: deadline_exceeded: /,
    /the handler was told to stop/,
    /refused: TypeError: .*"http:"/,
    /curl --cacert \.dev\/ca\/ca\.pem .* https:\/\/localhost:8443\/greeter\.v1\/hello/,
  ];
  for (const expected of told) assert.match(stdout, expected);
  assert.doesNotMatch(stdout, /admin|A{65}/, "no received value is repeated");
});

test("task hello() greets", async () => {
  const { code, stdout, stderr } = await outputOf("hello");
  assert.equal(code, 0, stderr);
  assert.equal(stdout, "Hello, Ada!\n");
  assert.equal(stderr, "");
});

test("task hello:serve() answers curl and ends at an interrupt", async (t) => {
  if (!await hasCurl()) return t.skip("there is no curl on this machine");
  if (!isFree(8443)) return t.skip("port 8443 is taken on this machine");
  const serving = task("hello:serve");
  const stdout = serving.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const stderr = new Response(serving.stderr).text();
  try {
    const text = await readUntil(stdout, "Ctrl+C");
    const [, caPath] = /--cacert (\S+)/.exec(text) ?? [];
    assert.ok(caPath, text);
    const args = ["--silent", "--show-error", "--max-time", "20", "--cacert", caPath, "--json", '{"name":"Ada"}'];
    const url = "https://localhost:8443/greeter.v1/hello";
    const curl = await new Deno.Command("curl", { args: [...args, url], cwd: ROOT }).output();
    assert.equal(
      new TextDecoder().decode(curl.stdout),
      '{"text":"Hello, Ada!"}',
      new TextDecoder().decode(curl.stderr),
    );
    const stranger = await new Deno.Command("curl", { args: ["--silent", "--max-time", "20", url] }).output();
    assert.equal(stranger.code, 60, "curl trusts no certificate of an authority it does not know");
  } finally {
    serving.kill("SIGINT");
  }
  const { code } = await serving.status;
  const rest = await readUntil(stdout);
  assert.equal(code, 0, await stderr);
  assert.match(rest, /Finishing the calls in flight/);
  assert.equal(await stderr, "");
});

/** Reads until a text has come, or to the end. */
async function readUntil(reader: ReadableStreamDefaultReader<string>, mark?: string): Promise<string> {
  let text = "";
  while (mark === undefined || !text.includes(mark)) {
    const { value, done } = await reader.read();
    if (done) return text;
    text += value;
  }
  return text;
}

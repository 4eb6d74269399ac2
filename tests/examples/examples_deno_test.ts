import assert from "node:assert/strict";
import { test } from "node:test";
import { createFetch } from "../../src/runtime/deno.ts";
import { findEtcd } from "../servers/launch.ts";
import { findNats } from "../servers/nats.ts";
import { changesIn, outputOf, outputWith, ROOT, task } from "./_programs.ts";

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

const ATTACKS: readonly (readonly [name: string, code: string, recorded: string])[] = [
  ["Stolen token", "unauthenticated", "audit of payments: #\\d+ call.refuse bad_signature, .*by nobody who proved it"],
  ["Replay", "unauthenticated", "audit of payments: #\\d+ call.refuse replayed, .*by spiffe://example.org/orders"],
  ["Tampered body", "unavailable", "audit of payments: #\\d+ call.refuse bad_digest, .*by spiffe://example.org/orders"],
  ["Swapped response", "unavailable", "audit of orders: #\\d+ answer.refuse wrong_exchange, "],
  ["Widened capability", "permission_denied", "audit of payments: #\\d+ call.refuse wider_right, .*/orders"],
  ["Rogue server", "unavailable", "audit of orders: #\\d+ answer.refuse wrong_peer, "],
  ["Expired identity", "unauthenticated", "audit of payments: #\\d+ call.refuse expired_token, .*by nobody"],
];

/** The demo's output: it takes a while, so two tests look at one run. */
let shown: ReturnType<typeof outputOf> | undefined;
const demo = () => shown ??= outputOf("demo");

test("task demo() shows seven attacks that fail, each beside an honest call that does not", async () => {
  const { code, stdout, stderr } = await demo();
  assert.equal(code, 0, stderr);
  assert.equal(stderr, "");
  const told = stdout.split(/^(?=\d+\. )/m).slice(1);
  assert.deepEqual(told.map((each) => parseInt(each)), told.map((_, index) => index + 1));
  for (const [index, [name, expected, recorded]] of ATTACKS.entries()) {
    const attack = told[index + 1]!;
    assert.match(attack, new RegExp(`^${index + 2}\\. ${name}: `));
    assert.match(attack, new RegExp(`^ {5}refused: ${expected}: `, "m"));
    assert.match(attack, new RegExp(`^ {5}${recorded}`, "m"));
    assert.match(attack, /^ {5}honest: receipt \d+ for \d+ cents$/m);
  }
});

test("task demo() tells the rest of its story", async () => {
  const { stdout } = await demo();
  const told = [
    /payments\.v1\/charge: caller spiffe:\/\/example\.org\/orders, chain web → gateway → orders, trace [0-9a-f]{8}\n/,
    /by the right example\.org → gateway → orders: .*"constraint_type":"exact","value":4500/,
    /refused: invalid_argument: .*cents/,
    /refused: .*"http:"/,
    /one is killed: +\d+ calls, 0 failed/,
    /two is rolled to 1\.1\.0: +\d+ calls, 0 failed \(.*two 1\.1\.0 \d+\)/,
    /Rogue instance: .*\n +refused: .*its identity may not serve what it names/,
    /Lying registry: .*\n +refused: not_serving, bad_token_signature\n +honest: 50 calls; rogue: 0/,
    /two packers of one group packed: order-1, order-2, order-3, order-5, order-6\n/,
    /the hub heard everything, and the number of the card in 0 events\n/,
    /the packer takes order-9 for 900, order-10 for 1000, and refuses three: not_allowed, wrong_digest, replayed\n/,
    /intact: \d+ entries, \d+ signed checkpoints/,
    /altered: Entry 5 was altered/,
    /curl --cacert \.dev\/ca\/ca\.pem .* https:\/\/localhost:8443\/greeter\.v1\/hello/,
  ];
  for (const expected of told) assert.match(stdout, expected);
  assert.equal(new Set(stdout.match(/trace \w+/g)).size, 1, "the three services saw one trace");
  assert.ok(stdout.split("\n").length <= 86, "it is read in half a minute");
  assert.doesNotMatch(stdout, /eyJ|[\w-]{33,}/, "no token, signature or key is printed");
});

test("task demo() fails when an attack succeeds, an honest call does not, or something else is recorded", async () => {
  const surprises = [
    { file: "demo/on_the_way.ts", from: '"9".charCodeAt(0)', to: '"1".charCodeAt(0)' },
    { file: "demo/stolen.ts", from: "ordersSince(site, 0)", to: "ordersSince(site, 2 * HOUR_MS)" },
    { file: "demo/stolen.ts", from: '"payments call.refuse replayed"', to: '"payments call.refuse stale"' },
    { file: "demo/widened.ts", from: 'code: "permission_denied"', to: 'code: "unauthenticated"' },
    { file: "demo.ts", from: 'verify("bad_digest")', to: 'verify("checkpoint")' },
    { file: "demo/mesh.ts", from: "`localhost:${port}`", to: "`localhost:${port}0`" },
    {
      file: "04_mesh/story.ts",
      from: '{ item: "kettle" }), async () => {\n    await one.kill',
      to: '{ item: "".padEnd(65) }), async () => {\n    await one.kill',
    },
  ];
  const outcomes = await Promise.all(surprises.map((change) => outputWith("demo.ts", change)));
  outcomes.forEach(({ code, stderr }, index) => {
    assert.equal(code, 1, surprises[index]!.to);
    assert.match(stderr, /error: Uncaught/);
  });
});

test("task hello() greets", async () => {
  const { code, stdout, stderr } = await outputOf("hello");
  assert.equal(code, 0, stderr);
  assert.equal(stdout, "Hello, Ada!\n");
  assert.equal(stderr, "");
});

test("task identity() greets whom it knows", async () => {
  const { code, stdout, stderr } = await outputOf("identity");
  assert.equal(code, 0, stderr);
  assert.equal(stdout, "Hello, Ada! I know you by spiffe://example.org/web.\n");
  assert.equal(stderr, "");
});

test("task chain() shows who called whom for whom, and by which right", async () => {
  const { code, stdout, stderr } = await outputOf("chain");
  assert.equal(code, 0, stderr);
  assert.equal(stderr, "");
  const readme = await Deno.readTextFile(`${ROOT}examples/03_chain/README.md`);
  const [, expected] = /```text\n([^`]+)```/.exec(readme)!;
  const sameTrace = (text: string) => text.replaceAll(/trace ([0-9a-f]{8})\b/g, "trace");
  assert.equal(sameTrace(stdout), sameTrace(expected!));
  assert.equal(new Set(stdout.match(/trace \w+/g)).size, 1);
});

const MESHES = [
  ["mesh", false],
  ["mesh:etcd", (await findEtcd()).skip],
  ["mesh:nats", (await findNats()).skip],
] as const;
for (const [name, skip] of MESHES) {
  test(`task ${name}() loses no call while one instance is killed and another one replaced`, { skip }, async () => {
    const { code, stdout, stderr } = await outputOf(name);
    assert.equal(code, 0, stderr);
    assert.equal(stderr, "");
    const lines = stdout.trimEnd().split("\n");
    assert.equal(lines.length, 3);
    for (const line of lines) assert.match(line, /: +\d+ calls, 0 failed \(/);
    assert.match(lines[0]!, /one 1\.0\.0 \d+, three 1\.0\.0 \d+, two 1\.0\.0 \d+/);
    assert.match(lines[2]!, /two 1\.1\.0 \d+/);
  });
}

for (const [name, folder] of [["streams", "05_streams"], ["chat", "06_chat"], ["topics", "07_topics"]] as const) {
  test(`task ${name}() shows what its README says it does`, async () => {
    const { code, stdout, stderr } = await outputOf(name);
    assert.equal(code, 0, stderr);
    assert.equal(stderr, "");
    const readme = await Deno.readTextFile(`${ROOT}examples/${folder}/README.md`);
    const [, expected] = /```text\n([^`]+)```/.exec(readme)!;
    assert.equal(stdout, expected);
  });
}

const FOLDERS = [
  ["02_identity", "identity.ts"],
  ["03_chain", "chain.ts"],
  ["04_mesh", "mesh.ts"],
  ["05_streams", "streams.ts"],
  ["06_chat", "chat.ts"],
  ["07_topics", "topics.ts"],
] as const;
for (const [folder, main] of FOLDERS) {
  test(`${folder} refuses what its README says it does`, async () => {
    const changes = await changesIn(folder);
    assert.ok(changes.length >= 3);
    const outcomes = await Promise.all(changes.map((change) => outputWith(`${folder}/${main}`, change)));
    outcomes.forEach(({ code, stdout, stderr }, index) => {
      const { to, words } = changes[index]!;
      assert.equal(code, 1, to);
      assert.ok(words.length > 0);
      for (const word of words) assert.ok((stdout + stderr).includes(word), `${to} shows ${word}: ${stdout}${stderr}`);
      assert.doesNotMatch(stdout, /Hello|Receipt/);
    });
  });
}

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

test("task chat:serve() gives browsers the page and ends at an interrupt", async (t) => {
  if (!isFree(8443)) return t.skip("port 8443 is taken on this machine");
  const serving = task("chat:serve");
  const stdout = serving.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const stderr = new Response(serving.stderr).text();
  try {
    const text = await readUntil(stdout, "Ctrl+C");
    const [, caPath] = /certificate is of (\S+),/.exec(text)!;
    using fetch = createFetch({ caCerts: [await Deno.readTextFile(ROOT + caPath)] });
    const answers = ["/", "/page.css", "/page.js"].map(async (path) => {
      const response = await fetch(`https://localhost:8443${path}`);
      assert.equal(response.status, 200);
      assert.equal(response.headers.get("content-security-policy"), "default-src 'self'");
      return await response.text();
    });
    const [page, style, script] = await Promise.all(answers);
    assert.match(page!, /src="\/page\.js"/);
    assert.match(style!, /#heard/);
    assert.ok(script!.length > 10_000);
  } finally {
    serving.kill("SIGINT");
  }
  const { code } = await serving.status;
  assert.equal(code, 0, await stderr);
  assert.match(await readUntil(stdout), /Finishing the calls in flight/);
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

import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthError } from "../../src/auth/mod.ts";
import { keyFromFile, writeKeyFile } from "../../src/runtime/key_file.ts";

/** The private half of the JWKs below, which no message may show. */
const CANARY = "d-is-a-canary";

/** A folder for one test. */
async function folder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "key-file-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

async function newJwk(): Promise<JsonWebKey> {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  const { kty, crv, x, d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
  return { kty, crv, x, d } as JsonWebKey;
}

async function keep(path: string, content: string | Uint8Array, mode = 0o600): Promise<string> {
  await Deno.writeFile(path, typeof content === "string" ? new TextEncoder().encode(content) : content, { mode });
  await Deno.chmod(path, mode); // whatever the umask
  return path;
}

const modeOf = async (path: string) => (await Deno.stat(path)).mode! & 0o777;

/** Asserts that using the file fails so, and that nothing of what it holds shows in the error. */
async function refuses(path: string, message: RegExp, kind: typeof Error | typeof AuthError = Error): Promise<void> {
  const { isFile, size } = await Deno.stat(path).catch(() => ({ isFile: false, size: 0 }));
  const held = isFile && size < 100_000 ? await Deno.readTextFile(path) : "";
  const error = await keyFromFile(path).then(() => assert.fail(`it used ${path}`), (thrown) => thrown);
  assert.equal(Object.getPrototypeOf(error), kind.prototype, String(error));
  assert.match(error.message, message);
  const shown = Deno.inspect(error, { depth: 10 });
  const parts = held.match(/[\w-]{12,}/g) ?? [];
  for (const part of [CANARY, ...parts.slice(0, 20)]) assert.ok(!shown.includes(part), "the error shows the content");
}

test("keyFromFile() uses the key of a file that is this user's alone, and the key signs", async () => {
  await using dir = await folder();
  const jwk = await newJwk();
  for (const mode of [0o600, 0o400]) {
    const key = await keyFromFile(await keep(`${dir.path}/${mode}.jwk`, JSON.stringify(jwk), mode));
    assert.equal(key.jwk.x, jwk.x);
    const bytes = new TextEncoder().encode("signed");
    const publicKey = await crypto.subtle.importKey("raw", key.publicKey, "Ed25519", true, ["verify"]);
    assert.ok(await crypto.subtle.verify("Ed25519", publicKey, await key.sign(bytes), bytes));
  }
});

for (const mode of [0o644, 0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o444]) {
  const shown = mode.toString(8);
  test(`keyFromFile() refuses a file with the mode ${shown} and says what to do`, async () => {
    await using dir = await folder();
    const path = await keep(`${dir.path}/a.jwk`, JSON.stringify(await newJwk()), mode);
    await refuses(path, new RegExp(`^Cannot use the key file ".+": others may .+ mode is ${shown}; \`chmod 600\` it$`));
  });
}

test("keyFromFile() refuses another user's file, whatever its mode", async () => {
  // Only root can give a file away, and only then is there another's file with a mode that would do.
  if (Deno.uid() !== 0) return await refuses("/etc/passwd", /belongs to another user/);
  await using dir = await folder();
  const path = await keep(`${dir.path}/a.jwk`, JSON.stringify(await newJwk()));
  await Deno.chown(path, 12_345, null);
  await refuses(path, /belongs to another user; `chown` it to this one$/);
});

test("keyFromFile() refuses a symbolic link to a good file, a dangling one and one to itself", async () => {
  await using dir = await folder();
  await keep(`${dir.path}/good.jwk`, JSON.stringify(await newJwk()));
  for (const target of ["good.jwk", "none.jwk", "link-good.jwk", "link-link-good.jwk"]) {
    await Deno.symlink(target, `${dir.path}/link-${target}`);
    await refuses(`${dir.path}/link-${target}`, /it is a symbolic link; give the path that it leads to$/);
  }
});

test("keyFromFile() refuses a folder and a device, and does not wait at a named pipe", async () => {
  await using dir = await folder();
  await new Deno.Command("mkfifo", { args: ["-m", "600", `${dir.path}/pipe`] }).output();
  for (const path of [dir.path, "/dev/null", `${dir.path}/pipe`]) await refuses(path, /it is not a regular file$/);
});

/** The files below a folder that this process has open, as Linux tells. */
async function openFiles(path: string): Promise<string[]> {
  const links = await Array.fromAsync(Deno.readDir("/proc/self/fd"), ({ name }) => `/proc/self/fd/${name}`);
  const targets = await Promise.all(links.map((link) => Deno.readLink(link).catch(() => "")));
  return targets.filter((target) => target.startsWith(path));
}

test("keyFromFile() and writeKeyFile() leave no file open, whether they succeed or not", async () => {
  await using dir = await folder();
  const path = `${dir.path}/a.jwk`;
  {
    using _control = await Deno.open(await keep(`${dir.path}/control`, ""));
    assert.equal((await openFiles(dir.path)).length, 1);
  }
  await writeKeyFile(path);
  await keyFromFile(path);
  await refuses(await keep(`${dir.path}/b.jwk`, "", 0o644), /mode is 644/);
  await assert.rejects(writeKeyFile(path), /EEXIST/);
  assert.deepEqual(await openFiles(dir.path), []);
});

test("keyFromFile() refuses a path at which there is nothing, and names it", async () => {
  await using dir = await folder();
  await assert.rejects(keyFromFile(`${dir.path}/none.jwk`), /ENOENT.+none\.jwk/);
});

test("keyFromFile() uses a file of 16 KiB and refuses a longer one", async () => {
  await using dir = await folder();
  const text = JSON.stringify(await newJwk());
  const exact = await keep(`${dir.path}/exact.jwk`, text.padEnd(16_384));
  assert.equal((await keyFromFile(exact)).jwk.kty, "OKP");
  await refuses(await keep(`${dir.path}/long.jwk`, text.padEnd(16_385)), /it is longer than 16384 bytes$/);
  await refuses(await keep(`${dir.path}/huge.jwk`, new Uint8Array(64 * 1_048_576)), /it is longer than 16384 bytes$/);
});

const malformed: readonly (readonly [what: string, content: () => unknown])[] = [
  ["nothing", () => ""],
  ["garbage", () => crypto.getRandomValues(new Uint8Array(500))],
  ["a text", () => CANARY],
  ["null", () => "null"],
  ["a list", () => [CANARY]],
  ["half a JWK", () => `{"kty":"OKP","crv":"Ed25519","d":"${CANARY}`],
  ["a PEM", () => `-----BEGIN PRIVATE KEY-----\n${CANARY}\n-----END PRIVATE KEY-----\n`],
  ["a public key", async () => ({ ...await newJwk(), d: undefined })],
  ["a private half alone", async () => ({ ...await newJwk(), x: undefined })],
  ["a private half that is too short", async () => ({ ...await newJwk(), d: CANARY })],
  ["an X25519 key", async () => ({ ...await newJwk(), crv: "X25519" })],
  ["a P-256 key", () => foreign({ name: "ECDSA", namedCurve: "P-256" })],
  ["a symmetric key", () => foreign({ name: "HMAC", hash: "SHA-256" })],
  ["a set of keys", async () => ({ keys: [await newJwk()] })],
  ["the halves of two keys", async () => ({ ...await newJwk(), x: (await newJwk()).x })],
];

async function foreign(algorithm: EcKeyGenParams | HmacKeyGenParams): Promise<JsonWebKey> {
  const made = await crypto.subtle.generateKey(algorithm as HmacKeyGenParams, true, ["sign", "verify"]) as
    | CryptoKey
    | CryptoKeyPair;
  return await crypto.subtle.exportKey("jwk", "privateKey" in made ? made.privateKey : made);
}

for (const [what, content] of malformed) {
  test(`keyFromFile() refuses a file that holds ${what} without showing it`, async () => {
    await using dir = await folder();
    const held = await content();
    const raw = typeof held === "string" || held instanceof Uint8Array ? held : JSON.stringify(held);
    const path = await keep(`${dir.path}/bad.jwk`, raw);
    await refuses(path, /^Cannot use the key file ".+bad\.jwk": it holds no good key$/, AuthError);
  });
}

for (const use of [keyFromFile, writeKeyFile]) {
  test(`${use.name}() refuses a key in the place of the path without showing it`, async () => {
    const jwk = JSON.stringify({ kty: "OKP", crv: "Ed25519", d: CANARY });
    const pem = `-----BEGIN PRIVATE KEY-----\n${CANARY}\n-----END PRIVATE KEY-----`;
    for (
      const path of [
        jwk,
        JSON.stringify(jwk),
        jwk.slice(1),
        pem,
        pem.replaceAll("\n", ""),
        "",
        "a\0b",
        undefined as never,
      ]
    ) {
      await assert.rejects(use(path), (error) => {
        return error instanceof TypeError && !Deno.inspect(error).includes(CANARY) &&
          /the path is none/.test(`${error}`);
      });
    }
  });
}

test("writeKeyFile() makes a file of this user alone, whose key keyFromFile() gives again, and nothing beside it", async () => {
  await using dir = await folder();
  const path = `${dir.path}/new.jwk`;
  const made = await writeKeyFile(path);
  assert.equal(await modeOf(path), 0o600);
  assert.deepEqual(await Array.fromAsync(Deno.readDir(dir.path), ({ name }) => name), ["new.jwk"]);
  assert.equal((await keyFromFile(path)).thumbprint, made.thumbprint);
  assert.notEqual((await writeKeyFile(`${dir.path}/other.jwk`)).thumbprint, made.thumbprint);
});

test("writeKeyFile() replaces nothing: no file, no link, and of two at once one fails", async () => {
  await using dir = await folder();
  const path = `${dir.path}/key.jwk`;
  const attempts = await Promise.allSettled([writeKeyFile(path), writeKeyFile(path), writeKeyFile(path)]);
  const [made, ...more] = attempts.flatMap((each) => each.status === "fulfilled" ? [each.value] : []);
  assert.deepEqual(more, []);
  assert.equal((await keyFromFile(path)).thumbprint, made!.thumbprint);
  await Deno.symlink("elsewhere.jwk", `${dir.path}/link.jwk`);
  await assert.rejects(writeKeyFile(`${dir.path}/link.jwk`), /EEXIST/);
  const left = await Array.fromAsync(Deno.readDir(dir.path), ({ name }) => name);
  assert.deepEqual(left.sort(), ["key.jwk", "link.jwk"]);
});

test("writeKeyFile() fails where there is no folder, and makes none", async () => {
  await using dir = await folder();
  await assert.rejects(writeKeyFile(`${dir.path}/none/key.jwk`), /ENOENT/);
});

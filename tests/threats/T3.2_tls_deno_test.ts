import assert from "node:assert/strict";
import { test } from "node:test";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { createLauncher, type RuntimeName, RUNTIMES } from "../runtime/launch.ts";

const OLD_VERSIONS = ["tls1", "tls1_1"] as const;
/** Everything OpenSSL can still offer below TLS 1.3; its own security level would leave most of it out. */
const EVERYTHING = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";
const WEAK_SUITES: Readonly<Record<string, string>> = {
  "without authenticated encryption": "ALL:COMPLEMENTOFALL:-AESGCM:-AESCCM:-CHACHA20:-ARIAGCM:@SECLEVEL=0",
  "without forward secrecy": "kRSA:kPSK:@SECLEVEL=0",
  "without authentication": "aNULL:@SECLEVEL=0",
  "without encryption": "eNULL:@SECLEVEL=0",
  "of finite-field Diffie-Hellman": "kDHE:@SECLEVEL=0",
};
/** rustls cannot be told to refuse TLS 1.2 (there is no option in Deno), and speaks it with these suites only. */
const DENO_1_2_SUITE = /^ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM-SHA(256|384)|CHACHA20-POLY1305)$/;

/** In CI a missing program is a failure; elsewhere its tests are skipped and say so. */
const skip = Deno.env.has("CI") || await hasOpenssl() ? false : "openssl is not installed";

async function hasOpenssl(): Promise<boolean> {
  try {
    return (await new Deno.Command("openssl", { args: ["version"] }).output()).success;
  } catch {
    return false;
  }
}

for (const runtime of RUNTIMES) {
  test(`T3.2 a server on ${runtime} speaks TLS 1.3 and refuses old versions and weak suites`, { skip }, async () => {
    await using server = await startServer(runtime);
    for (const version of OLD_VERSIONS) {
      assert.equal(await handshake(server.port, version, EVERYTHING), "refused", version);
    }
    for (const [name, suites] of Object.entries(WEAK_SUITES)) {
      assert.equal(await handshake(server.port, "tls1_2", suites), "refused", name);
    }
    const older = await handshake(server.port, "tls1_2", EVERYTHING);
    if (runtime === "deno") assert.match(older, DENO_1_2_SUITE);
    else assert.equal(older, "refused");
    assert.match(await handshake(server.port, "tls1_3", EVERYTHING), /^TLS_(AES|CHACHA20)/);
  });

  test(`T3.2 a server on ${runtime} answers nothing to plain HTTP`, async () => {
    await using server = await startServer(runtime);
    const reply = await speakPlainly(server.port);
    assert.doesNotMatch(reply, /HTTP\/1\.[01] [23]|"url"/);
    assert.match(await handshake(server.port, "tls1_3", EVERYTHING), /^TLS_/, "it still serves");
  });
}

test(
  "T3.2 the check itself: OpenSSL offers every old version and weak suite, and a weak server accepts them",
  { skip },
  async () => {
    await using server = await startWeakServer();
    for (const version of [...OLD_VERSIONS, "tls1_2"]) {
      assert.match(await handshake(server.port, version, EVERYTHING), /^[A-Z]+[A-Z0-9-]+$/, version);
    }
    for (const name of ["without authenticated encryption", "without authentication", "without encryption"]) {
      assert.notEqual(await handshake(server.port, "tls1_2", WEAK_SUITES[name]), "refused", name);
    }
  },
);

async function startServer(runtime: RuntimeName): Promise<AsyncDisposable & { readonly port: number }> {
  const launcher = await createLauncher();
  const server = await launcher.startServer(runtime, await issueCertificate({ authority: await makeCa() }));
  return {
    port: server.port,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await launcher[Symbol.asyncDispose]();
    },
  };
}

/** Debian's configuration would keep OpenSSL from offering what is offered here. */
const OPENSSL_ENV = { OPENSSL_CONF: "/dev/null" };

/** The suite agreed on, or `refused` when the server said no; anything else, such as no server, throws. */
async function handshake(port: number, version: string, suites: string): Promise<string> {
  const args = ["s_client", "-connect", `127.0.0.1:${port}`, `-${version}`, "-cipher", suites];
  const { stdout, stderr } = await new Deno.Command("openssl", { args, stdin: "null", env: OPENSSL_ENV }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  const suite = /^New, \S+, Cipher is (\S+)$/m.exec(text)?.[1];
  if (suite && suite !== "(NONE)") return suite;
  if (/alert (protocol version|handshake failure|insufficient security)|unexpected eof/.test(text)) return "refused";
  throw new Error(`Neither agreed nor refused: ${text}`);
}

async function speakPlainly(port: number): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
  const chunk = new Uint8Array(65_536);
  try {
    const length = await connection.read(chunk);
    return new TextDecoder("latin1").decode(chunk.subarray(0, length ?? 0));
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return "";
    throw error;
  }
}

/** OpenSSL's own server with everything on. */
async function startWeakServer(): Promise<AsyncDisposable & { readonly port: number }> {
  const dir = await Deno.makeTempDir();
  const { cert, key } = await issueCertificate();
  await Deno.writeTextFile(`${dir}/cert.pem`, cert);
  await Deno.writeTextFile(`${dir}/key.pem`, key);
  const args = ["s_server", "-accept", "0", "-www", "-cert", `${dir}/cert.pem`, "-key", `${dir}/key.pem`];
  const command = new Deno.Command("openssl", {
    args: [...args, "-cipher", EVERYTHING, "-legacy_renegotiation"],
    env: OPENSSL_ENV,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  });
  await using starting = new AsyncDisposableStack();
  starting.defer(() => Deno.remove(dir, { recursive: true }));
  const process = command.spawn();
  starting.defer(async () => {
    process.kill("SIGKILL");
    await process.stdin.close().catch(() => {});
    await process.status;
  });
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  starting.defer(() => reader.cancel());
  for (let text = "";;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`The weak server did not start: ${text}`);
    text += value;
    const port = /^ACCEPT .*:(\d+)$/m.exec(text)?.[1];
    if (!port) continue;
    const running = starting.move();
    return { port: Number(port), [Symbol.asyncDispose]: () => running.disposeAsync() };
  }
}

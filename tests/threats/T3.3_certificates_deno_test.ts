import assert from "node:assert/strict";
import { test } from "node:test";
import { type Certificate, issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import { ADAPTED, createLauncher, type RuntimeName, RUNTIMES } from "../runtime/launch.ts";

const HOUR_MS = 3_600_000;
const BAD = ["wrong host", "expired", "self-signed", "unknown authority"] as const;
type Bad = typeof BAD[number];

/** How each family of TLS libraries says that the certificate is the reason, and which fault it has. */
const NODE_REASONS: Record<Bad, RegExp> = {
  "wrong host": /ERR_TLS_CERT_ALTNAME_INVALID/,
  expired: /CERT_HAS_EXPIRED/,
  "self-signed": /DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE/,
  "unknown authority": /UNABLE_TO_VERIFY_LEAF_SIGNATURE/,
};
const DENO_REASONS: Record<Bad, RegExp> = {
  "wrong host": /invalid peer certificate: certificate not valid for name/,
  expired: /invalid peer certificate: certificate expired/,
  "self-signed": /invalid peer certificate: UnknownIssuer/,
  "unknown authority": /invalid peer certificate: UnknownIssuer/,
};
/** workerd uses the TLS library that Deno uses. */
const REASONS: Record<RuntimeName, Record<Bad, RegExp>> = {
  deno: DENO_REASONS,
  bun: NODE_REASONS,
  node: NODE_REASONS,
  workerd: DENO_REASONS,
};

for (const runtime of RUNTIMES) {
  test(`T3.3 T21 T29 createFetch() on ${runtime} refuses every bad certificate beside an honest one`, async () => {
    await using servers = await startServers();
    await using launcher = await createLauncher();
    const { get, stderr } = await launcher.runClient(runtime, { caCerts: [servers.ca], get: servers.urls });
    assert.equal(get.honest, "answered 204");
    // A worker learns only that its fetch failed; workerd writes the reason to stderr, here in the order of BAD.
    const written = stderr.split("\n").filter((line) => line.includes("TLS handshake failed"));
    for (const [index, bad] of BAD.entries()) {
      assert.match(get[bad], /^refused /, bad);
      assert.match(runtime === "workerd" ? written[index] : get[bad], REASONS[runtime][bad], bad);
    }
    assert.deepEqual(servers.answered, ["honest"], "no request went to a server with a bad certificate");
  });
}

for (const runtime of ["bun", "node"] as const) {
  test(`T3.3 T21 T29 createFetch() on ${runtime} verifies although the environment switches verification off`, async () => {
    await using servers = await startServers();
    await using launcher = await createLauncher();
    const env = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
    const { get } = await launcher.runClient(runtime, { caCerts: [servers.ca], get: servers.urls }, { env });
    assert.equal(get.honest, "answered 204");
    for (const bad of BAD) assert.match(get[bad], REASONS[runtime][bad], bad);
  });
}

for (const runtime of ADAPTED) {
  test(`T3.3 T21 T29 createFetch() on ${runtime} trusts nobody but the runtime's own authorities without caCerts`, async () => {
    await using servers = await startServers();
    await using launcher = await createLauncher();
    const { get } = await launcher.runClient(runtime, { caCerts: [], get: { honest: servers.urls.honest } });
    assert.match(get.honest, REASONS[runtime]["unknown authority"]);
  });

  test(`T3.3 T21 T29 createFetch() on ${runtime} trusts caCerts in addition to the runtime's own authorities`, async () => {
    const [own, added] = [await makeCa("own"), await makeCa("added")];
    await using servers = await startServers();
    await using ownServer = serveWith(await issueCertificate({ authority: own }), () => {});
    await using addedServer = serveWith(await issueCertificate({ authority: added }), () => {});
    await using launcher = await createLauncher();
    const file = await Deno.makeTempFile();
    try {
      await Deno.writeTextFile(file, own.ca);
      const get = { own: urlOf(ownServer), added: urlOf(addedServer), neither: servers.urls.honest };
      const env = { NODE_EXTRA_CA_CERTS: file };
      const output = await launcher.runClient(runtime, { caCerts: [added.ca], get }, { env });
      assert.equal(output.get.own, "answered 204");
      assert.equal(output.get.added, "answered 204");
      assert.match(output.get.neither, REASONS[runtime]["unknown authority"]);
    } finally {
      await Deno.remove(file);
    }
  });

  test(`T3.3 T21 T29 serve() on ${runtime} refuses to start while certificate verification is off`, async () => {
    await using launcher = await createLauncher();
    const off = runtime === "deno"
      ? { denoFlags: ["-A", "--unsafely-ignore-certificate-errors"] }
      : { env: { NODE_TLS_REJECT_UNAUTHORIZED: "0" } };
    await using program = await launcher.launchServer(runtime, await issueCertificate(), off);
    await assert.rejects(program.line("ready "), /Certificate verification is off/);
    assert.notEqual((await program.status).code, 0);
    assert.match(
      program.stderr(),
      /Certificate verification is off: .+ (NODE_TLS_REJECT_UNAUTHORIZED|--unsafely-ignore)/,
    );
  });
}

// Node's own fetch uses no proxy; canary_test.ts has the other ways in which the question can stay open.
for (const runtime of ["deno", "bun"] as const) {
  test(`T3.3 T21 T29 serve() on ${runtime} refuses to start while it cannot tell whether verification is on`, async () => {
    await using launcher = await createLauncher();
    const env = { HTTPS_PROXY: "http://127.0.0.1:1", NO_PROXY: "", no_proxy: "" }; // nothing listens on port 1
    await using program = await launcher.launchServer(runtime, await issueCertificate(), { env });
    assert.notEqual((await program.status).code, 0);
    assert.match(program.stderr(), /Cannot check that this process verifies certificates.+NO_PROXY=127\.0\.0\.1/);
  });
}

test("T3.3 T21 T29 serve() on deno names the permission it lacks for the check", async () => {
  await using launcher = await createLauncher();
  const denoFlags = ["--allow-read", "--allow-env", "--allow-net=localhost"];
  await using program = await launcher.launchServer("deno", await issueCertificate(), { denoFlags });
  assert.notEqual((await program.status).code, 0);
  assert.match(program.stderr(), /Cannot check that this process verifies certificates.+--allow-net=127\.0\.0\.1/);
});

interface Servers extends AsyncDisposable {
  readonly ca: string;
  readonly urls: Readonly<Record<Bad | "honest", string>>;
  readonly answered: string[];
}

/** One server with each certificate, all but one bad. */
async function startServers(): Promise<Servers> {
  const [authority, unknown] = [await makeCa(), await makeCa("Somebody else")];
  const past = { notBefore: new Date(Date.now() - 2 * HOUR_MS), notAfter: new Date(Date.now() - HOUR_MS) };
  const certificates: Record<Bad | "honest", Certificate> = {
    honest: await issueCertificate({ authority }),
    "wrong host": await issueCertificate({ authority, names: ["example.com", "127.0.0.2"] }),
    expired: await issueCertificate({ authority, ...past }),
    "self-signed": await issueCertificate(),
    "unknown authority": await issueCertificate({ authority: unknown }),
  };
  const answered: string[] = [];
  const listeners = Object.entries(certificates).map(([name, certificate]) =>
    [name, serveWith(certificate, () => answered.push(name))] as const
  );
  return {
    ca: authority.ca,
    urls: Object.fromEntries(listeners.map(([name, server]) => [name, urlOf(server)])) as Servers["urls"],
    answered,
    async [Symbol.asyncDispose]() {
      await Promise.all(listeners.map(([, server]) => server.shutdown()));
    },
  };
}

function serveWith(certificate: Certificate, onRequest: () => void): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ ...certificate, hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
    onRequest();
    return new Response(null, { status: 204 });
  });
}

function urlOf(server: Deno.HttpServer<Deno.NetAddr>): string {
  return `https://localhost:${server.addr.port}`;
}

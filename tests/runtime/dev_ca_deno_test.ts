import "reflect-metadata"; // @peculiar/x509 2 needs it loaded first
import assert from "node:assert/strict";
import { test } from "node:test";
import * as x509 from "@peculiar/x509";
import { devCa, issueCertificate, makeCa } from "../../tools/dev_ca.ts";

async function withDir(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await use(`${dir}/ca`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

test("devCa() writes a certificate for loopback that its authority signed", () =>
  withDir(async (dir) => {
    const made = await devCa(dir);
    const args = ["verify", "-x509_strict", "-CAfile", made.caPath];
    for (
      const [flag, name] of [["-verify_hostname", "localhost"], ["-verify_ip", "127.0.0.1"], ["-verify_ip", "::1"]]
    ) {
      const { success } = await new Deno.Command("openssl", { args: [...args, flag, name, made.certPath] }).output();
      assert.ok(success, name);
    }
    assert.equal(await Deno.readTextFile(made.keyPath), made.key);
  }));

test("devCa() keeps the private key to its owner and the authority's to nobody", () =>
  withDir(async (dir) => {
    const { keyPath } = await devCa(dir);
    assert.equal((await Deno.stat(keyPath)).mode! & 0o777, 0o600);
    const withKeys = [];
    for await (const { name } of Deno.readDir(dir)) {
      if ((await Deno.readTextFile(`${dir}/${name}`)).includes("PRIVATE KEY")) withKeys.push(name);
    }
    assert.deepEqual(withKeys, ["server.key"]);
  }));

test("devCa() reuses what is there", () =>
  withDir(async (dir) => {
    assert.deepEqual(await devCa(dir), await devCa(dir));
  }));

for (const file of ["ca.pem", "server.pem", "server.key", "complete"]) {
  test(`devCa() starts over when ${file} is missing or of another generation`, () =>
    withDir(async (dir) => {
      const first = await devCa(dir);
      await Deno.remove(`${dir}/${file}`);
      const second = await devCa(dir);
      assert.notEqual(second.ca, first.ca);
      const stale = { "ca.pem": first.ca, "server.pem": first.cert, "server.key": first.key, complete: "" }[file]!;
      await Deno.writeTextFile(`${dir}/${file}`, stale);
      assert.notEqual((await devCa(dir)).ca, second.ca);
    }));
}

test("devCa() renews what does not last another day", (t) =>
  withDir(async (dir) => {
    const first = await devCa(dir);
    const now = Date.now();
    t.mock.method(Date, "now", () => now + 29.5 * 86_400_000);
    assert.notEqual((await devCa(dir)).ca, first.ca);
  }));

test("devCa() gives the same files to processes that start at once", () =>
  withDir(async (dir) => {
    const code = `const { devCa } = await import(${JSON.stringify(import.meta.resolve("../../tools/dev_ca.ts"))});
      const { ca, cert, key } = await devCa(${JSON.stringify(dir)}); console.log(JSON.stringify([ca, cert, key]));`;
    const outputs = await Promise.all(Array.from({ length: 4 }, async () => {
      const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["eval", code] }).output();
      return new TextDecoder().decode(stdout);
    }));
    assert.deepEqual(JSON.parse(outputs[0]).length, 3);
    assert.equal(new Set(outputs).size, 1);
  }));

test("issueCertificate() gives each certificate another serial number", async () => {
  const authority = await makeCa();
  const serials = new Set<string>();
  for (let i = 0; i < 5; i++) {
    const { cert } = await issueCertificate({ authority });
    serials.add(new x509.X509Certificate(cert).serialNumber);
  }
  assert.equal(serials.size, 5);
});

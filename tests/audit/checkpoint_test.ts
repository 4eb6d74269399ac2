import { AuditError, type AuditKey, signCheckpoint, verifyCheckpoint } from "../../src/audit/mod.ts";
import { openNote } from "../../src/audit/checkpoint.ts";
import { base64Of, bytesOf, ORIGIN, signer, signerOf } from "./_rig.ts";
import assert from "node:assert/strict";
import { test } from "node:test";

const root = bytesOf("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
const checkpoint = { origin: ORIGIN, size: 8, root };

/** Signs any text as a note, as someone would who has the key and does not keep to the format. */
async function noteOf(text: string, by = signer): Promise<string> {
  const good = await signCheckpoint(checkpoint, by);
  const hash = atob(good.split(" ").at(-1)!.trim()).slice(0, 4);
  const signature = await by.sign(new TextEncoder().encode(text));
  const line = `— ${by.id} ${btoa(hash + String.fromCharCode(...signature))}\n`;
  return `${text}\n${line}`;
}

const rejectsWith = (promise: Promise<unknown>, code: string) =>
  assert.rejects(promise, (error) => error instanceof AuditError && error.code === code);

test("openNote() takes the example of the golang.org/x/mod/sumdb/note package", async () => {
  const key: AuditKey = {
    id: "PeterNeumann",
    publicKey: Uint8Array.from(atob("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"), (char) => char.charCodeAt(0))
      .slice(1),
  };
  const text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
  const signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
  assert.equal(await openNote(`${text}\n— PeterNeumann ${signature}\n`, [key]), text);
  await rejectsWith(openNote(`${text.replace("don't", "do")}\n— PeterNeumann ${signature}\n`, [key]), "signature");
});

test("signCheckpoint() writes origin, size and root, an empty line, and who signed", async () => {
  const lines = (await signCheckpoint(checkpoint, signer)).split("\n");
  assert.deepEqual(lines.slice(0, 4), [ORIGIN, "8", base64Of(root), ""]);
  assert.match(lines[4]!, /^— spiffe:\/\/acme\.example\/orders [A-Za-z0-9+/]{91}=$/);
  assert.deepEqual(lines.slice(5), [""]);
});

test("signCheckpoint() refuses a signature that its own public key does not verify", async () => {
  await rejectsWith(signCheckpoint(checkpoint, { ...signer, publicKey: signerOf("mallory").publicKey }), "signature");
  await rejectsWith(signCheckpoint(checkpoint, { ...signer, sign: () => new Uint8Array(3) }), "signature");
});

test("verifyCheckpoint() reads what signCheckpoint() wrote", async () => {
  assert.deepEqual(await verifyCheckpoint(await signCheckpoint(checkpoint, signer), [signer]), checkpoint);
  const empty = { origin: "log", size: 0, root };
  assert.deepEqual(await verifyCheckpoint(await signCheckpoint(empty, signer), [signer]), empty);
});

test("verifyCheckpoint() ignores signatures of keys that it does not know, and extension lines", async () => {
  const note = await signCheckpoint(checkpoint, signer);
  const mallorys = (await signCheckpoint(checkpoint, signerOf("mallory", "orders"))).split("\n\n")[1]!;
  assert.deepEqual(await verifyCheckpoint(note + mallorys, [signer]), checkpoint);
  assert.deepEqual(await verifyCheckpoint(note.replace("\n\n", "\n\n" + mallorys), [signer]), checkpoint);
  const extended = await noteOf(`${ORIGIN}\n8\n${base64Of(root)}\nmore\n`);
  assert.deepEqual(await verifyCheckpoint(extended, [signer]), checkpoint);
});

test("verifyCheckpoint() takes any of the keys that are trusted", async () => {
  const both = [signerOf("mallory"), signer];
  assert.deepEqual(await verifyCheckpoint(await signCheckpoint(checkpoint, signer), both), checkpoint);
});

test("verifyCheckpoint() refuses a checkpoint that no trusted key signed", async () => {
  const note = await signCheckpoint(checkpoint, signerOf("mallory", "orders"));
  await rejectsWith(verifyCheckpoint(note, [signer]), "signature");
  await rejectsWith(verifyCheckpoint(await signCheckpoint(checkpoint, signer), []), "signature");
});

test("verifyCheckpoint() refuses a trusted key's signature under another name", async () => {
  const [text, line] = (await signCheckpoint(checkpoint, signer)).split("\n\n") as [string, string];
  await rejectsWith(verifyCheckpoint(`${text}\n\n${line.replace("orders", "mallory")}`, [signer]), "signature");
});

test("verifyCheckpoint() takes no signature line as one of a key whose hash it does not have", async () => {
  const [text, line] = (await signCheckpoint(checkpoint, signer)).split("\n\n") as [string, string];
  const [dash, name, encoded] = line.trim().split(" ") as [string, string, string];
  const other = `${dash} ${name} ${btoa("abcd" + atob(encoded).slice(4))}\n`;
  await rejectsWith(verifyCheckpoint(`${text}\n\n${other}`, [signer]), "signature");
  assert.deepEqual(await verifyCheckpoint(`${text}\n\n${line}${other}`, [signer]), checkpoint);
});

test("verifyCheckpoint() refuses a wrong signature by a trusted key beside a good one of another", async () => {
  const note = await signCheckpoint(checkpoint, signer);
  const wrong = (await signCheckpoint({ ...checkpoint, size: 9 }, signerOf("mallory"))).split("\n\n")[1]!;
  await rejectsWith(verifyCheckpoint(note + wrong, [signer, signerOf("mallory")]), "signature");
});

test("verifyCheckpoint() refuses any change of the text that was signed", async () => {
  const note = await signCheckpoint(checkpoint, signer);
  await rejectsWith(verifyCheckpoint(note.replace("\n8\n", "\n9\n"), [signer]), "signature");
  await rejectsWith(verifyCheckpoint(note.replace("orders\n8", "payments\n8"), [signer]), "signature");
});

const hash = base64Of(root);
for (
  const [name, text] of [
    ["no origin", `\n8\n${hash}\n`],
    ["a size with a zero in front", `${ORIGIN}\n08\n${hash}\n`],
    ["a size with a sign", `${ORIGIN}\n+8\n${hash}\n`],
    ["a size in hexadecimal", `${ORIGIN}\n0x8\n${hash}\n`],
    ["a size with an exponent", `${ORIGIN}\n1e3\n${hash}\n`],
    ["a size beyond what numbers count", `${ORIGIN}\n9007199254740993\n${hash}\n`],
    ["no size", `${ORIGIN}\n\n${hash}\n`],
    ["no root", `${ORIGIN}\n8\n`],
    ["only an origin", `${ORIGIN}\n`],
    ["a root without its padding", `${ORIGIN}\n8\n${hash.slice(0, -1)}\n`],
    ["a root in base64url", `${ORIGIN}\n8\n${base64Of(new Uint8Array(32).fill(255)).replaceAll("/", "_")}\n`],
    ["a root that is too short", `${ORIGIN}\n8\n${base64Of(root.subarray(1))}\n`],
    ["an empty extension line", `${ORIGIN}\n8\n${hash}\n\nmore\n`],
    ["a carriage return", `${ORIGIN}\r\n8\n${hash}\n`],
    ["a null", `${ORIGIN}\0\n8\n${hash}\n`],
  ] as const
) {
  test(`verifyCheckpoint() refuses ${name} although it is signed`, async () => {
    await rejectsWith(verifyCheckpoint(await noteOf(text), [signer]), "syntax");
  });
}

for (
  const [name, spoil] of [
    ["nothing", () => ""],
    ["no empty line", (good) => good.replace("\n\n", "\n")],
    ["no text", (good) => good.slice(good.indexOf("\n\n"))],
    ["no signature", (good) => good.slice(0, good.indexOf("\n\n") + 2)],
    ["a last line that does not end", (good) => good.slice(0, -1)],
    ["another character in place of the last newline", (good) => good.slice(0, -1) + "x"],
    ["a line behind the signatures", (good) => good + "more\n"],
    ["a hyphen in place of the dash", (good) => good.replace("—", "-")],
    ["two spaces", (good) => good.replace("— ", "—  ")],
    ["a plus in the name of a key", (good) => good + "— a+b AAAAAAAA\n"],
    ["a tab in the name of a key", (good) => good + "— a\tb AAAAAAAA\n"],
    ["a no-break space in the name of a key", (good) => good + "— a\u00a0b AAAAAAAA\n"],
    ["a signature line without a name", (good) => good + "— AAAAAAAA\n"],
    ["a signature without its padding", (good) => good.replace(/=\n$/, "\n")],
    ["a signature that is no base64", (good) => good + "— a ****\n"],
    ["a signature shorter than its key hash", (good) => good + "— a AAAA\n"],
    ["more signatures than anyone gives", (good) => good + "— a AAAAAAAA\n".repeat(64)],
    ["a signature line that is longer than any", (good) => good + `— ${"a".repeat(131_072)} AAAAAAAA\n`],
  ] as readonly (readonly [name: string, spoil: (good: string) => string])[]
) {
  test(`verifyCheckpoint() refuses ${name}`, async () => {
    await rejectsWith(verifyCheckpoint(spoil(await signCheckpoint(checkpoint, signer)), [signer]), "syntax");
  });
}

test("verifyCheckpoint() takes 16 signatures that it does not know", async () => {
  assert.deepEqual(
    await verifyCheckpoint(await signCheckpoint(checkpoint, signer) + "— a AAAAAAAA\n".repeat(16), [signer]),
    checkpoint,
  );
});

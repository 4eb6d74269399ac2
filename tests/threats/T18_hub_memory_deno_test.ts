// What is in the memory of a hub, and in its file, of an encrypted topic: all of it is looked through while the hub runs.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { createPubSub } from "../../src/broker/mod.ts";
import { testAuthority } from "../_authority.ts";
import { killable, members } from "../broker/_kill.ts";
import { Kept, memberOf, Told, TOPICS } from "../broker/programs/kill_app.ts";
import type { HubSetup } from "../broker/programs/kill_hub.ts";
import { reachHub } from "../broker/programs/kill_hub_reach.ts";
import { freePorts } from "../servers/_process.ts";

const skip = Deno.build.os === "linux" ? false : "Only Linux shows the memory of a process";
const COUNT = 50;
const CHUNK = 4 * 1_048_576;
const NOTHING = Buffer.alloc(CHUNK);

test(
  "T18 the memory and the file of a hub have what it may read, and nothing of an encrypted topic",
  { skip },
  async () => {
    await using stack = new AsyncDisposableStack();
    const { hub, shop, packing } = await members();
    const { ca, cert, key } = await testAuthority();
    const folder = await Deno.makeTempDir({ prefix: "postern-memory-" });
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const [port] = freePorts(1) as [number];
    const setup: HubSetup = { member: hub, cert, key, port, store: `${folder}/broker.db`, maxMessages: 1_000 };
    const server = stack.use(await killable("kill_hub.ts", setup));
    const join = async (member: typeof shop) => {
      const { identity, trust } = await memberOf(member);
      const { broker } = stack.use(await reachHub({ identity, trust, ca, port }));
      return stack.use(createPubSub(broker, { identity, trust, policy: TOPICS }));
    };
    const [publisher, reader] = [await join(shop), await join(packing)];
    const kept = stack.use(await reader.subscribe(Kept));
    const [said, secret] = ["told", "kept"].map((word) => `${word} ${crypto.randomUUID()}`) as [string, string];
    for (let n = 0; n < COUNT; n++) {
      await publisher.publish(Told, { text: said });
      await publisher.publish(Kept, { text: secret });
    }
    const source = kept[Symbol.asyncIterator]();
    for (let n = 0; n < COUNT; n++) {
      const { value } = await source.next();
      assert.equal(value!.data.text, secret);
      if (n < COUNT / 2) value!.ack(); // the rest is still out
    }

    const seen = memoryHas(server.pid, [said, secret]);
    assert.deepEqual(seen, [true, false], "what is read there is what the hub has");
    await server.end();
    const files = [...Deno.readDirSync(folder)].map(({ name }) => Deno.readFileSync(`${folder}/${name}`));
    assert.deepEqual([said, secret].map((text) => files.some((bytes) => includes(bytes, text))), [true, false]);
  },
);

/** Which of some texts is anywhere in the memory of a process that runs, as one byte or as two for each character. */
function memoryHas(pid: number, texts: readonly string[]): boolean[] {
  using memory = Deno.openSync(`/proc/${pid}/mem`);
  const found = texts.map(() => false);
  const buffer = new Uint8Array(CHUNK);
  const overlap = 256;
  for (const line of Deno.readTextFileSync(`/proc/${pid}/maps`).split("\n")) {
    const [, from, to] = /^([\da-f]+)-([\da-f]+) rw/.exec(line) ?? [];
    if (from === undefined) continue; // what nobody can write is the program
    const end = parseInt(to!, 16);
    for (let at = parseInt(from, 16); at < end; at += CHUNK - overlap) {
      const read = readAt(memory, at, buffer.subarray(0, Math.min(CHUNK, end - at)));
      if (NOTHING.compare(buffer, 0, read, 0, read) === 0) continue; // most is only reserved
      texts.forEach((text, index) => found[index] ||= includes(buffer.subarray(0, read), text));
    }
  }
  return found;
}

/** How much could be read; nothing of what is only reserved. */
function readAt(memory: Deno.FsFile, at: number, into: Uint8Array): number {
  try {
    memory.seekSync(at, Deno.SeekMode.Start);
    return memory.readSync(into) ?? 0;
  } catch {
    return 0;
  }
}

function includes(bytes: Uint8Array, text: string): boolean {
  const two = new Uint8Array(text.length * 2);
  for (let index = 0; index < text.length; index++) two[2 * index] = text.charCodeAt(index);
  const here = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return here.includes(text) || here.includes(Buffer.from(two));
}

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Happening } from "../../examples/06_chat/contracts.ts";
import { createRooms } from "../../examples/06_chat/rooms.ts";

/** What a member has heard, as far as it has come, or until it ends. */
async function heardBy(heard: ReadableStream<Happening>, count: number): Promise<readonly string[]> {
  const reader = heard.getReader();
  const words: string[] = [];
  while (words.length < count) {
    const { value, done } = await reader.read();
    if (done) break;
    words.push(`${value.from} ${value.text ?? value.did}`);
  }
  reader.releaseLock();
  return words;
}

test("createRooms() tells everybody in a room what is said there, and nobody in another", async () => {
  const rooms = createRooms();
  const ada = rooms.enter("kitchen", "Ada");
  const bob = rooms.enter("cellar", "Bob");
  const grace = rooms.enter("kitchen", "Grace");
  ada.say("Tea");
  bob.say("Dark");
  grace.leave();
  assert.deepEqual(await heardBy(ada.heard, 4), ["Ada enter", "Grace enter", "Ada Tea", "Grace leave"]);
  assert.deepEqual(await heardBy(grace.heard, 9), ["Grace enter", "Ada Tea"]);
  bob.leave();
  assert.deepEqual(await heardBy(bob.heard, 9), ["Bob enter", "Bob Dark"]);
});

test("createRooms() puts out who does not listen, and tells the others all of it", async () => {
  const rooms = createRooms();
  const ada = rooms.enter("kitchen", "Ada");
  const bob = rooms.enter("kitchen", "Bob");
  assert.deepEqual(await heardBy(ada.heard, 2), ["Ada enter", "Bob enter"]);
  const words: string[] = [];
  for (let line = 0; line < 70; line++) {
    ada.say(String(line));
    words.push(...await heardBy(ada.heard, 1));
  }
  words.push(...await heardBy(ada.heard, 1));
  assert.equal(words.length, 71);
  assert.equal(words.filter((each) => each === "Bob leave").length, 1);
  await assert.rejects(heardBy(bob.heard, 1), { code: "resource_exhausted" });
  bob.leave(); // again, when the call ends
  ada.leave();
  assert.deepEqual(await heardBy(ada.heard, 9), []);
});

test("createRooms() tells the others when a member's reader goes away", async () => {
  const rooms = createRooms();
  const ada = rooms.enter("kitchen", "Ada");
  const bob = rooms.enter("kitchen", "Bob");
  await bob.heard.cancel();
  assert.deepEqual(await heardBy(ada.heard, 3), ["Ada enter", "Bob enter", "Bob leave"]);
});

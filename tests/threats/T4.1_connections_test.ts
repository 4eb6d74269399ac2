// Somebody on the way of a WebSocket changes its messages, gives them to another connection, or says them again.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RpcError } from "../../src/rpc/mod.ts";
import { concat, flipped, readAll, slowly, socketClient, type Streaming, streaming } from "./_streaming.ts";
import { gate, soon } from "../rpc/_rig.ts";
import { type Lane, type Message, playedPipe, settle, type Wire } from "../rpc/_sockets.ts";
import { upgradeRequest } from "../rpc/_socket_server.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Direction = "toServer" | "toClient";
const LETTERS = ["a", "b", "c", "d", "e", "f"];

const codeOf = (error: unknown): string => error instanceof RpcError ? error.code : `no RpcError: ${error}`;

/** A connection that is open, and on which a call was made already. */
async function opened(it?: Streaming) {
  const all = it ?? await streaming();
  const wires: Wire[] = [];
  const socket = socketClient(all, (wire) => wires.push(wire));
  assert.deepEqual(await socket.client.up(slowly("warm")), { text: "warm" });
  all.handled.length = 0;
  return { ...all, ...socket, wire: wires[0]!, wires };
}

/** Tampers with what is sent from now on: `change` gets each binary message, and its place among these. */
function tamper(lane: Lane, change: (message: Bytes, index: number) => readonly Message[]): void {
  let index = 0;
  lane.tamper = (message) => typeof message === "string" ? [message] : change(message, index++);
}

/** The message that an attack begins with. */
const AT = 2;
const inPlace = (change: (message: Bytes, past: Lane["log"]) => readonly Message[]) => (lane: Lane) =>
  tamper(lane, (message, index) => index === AT ? change(message, lane.log) : [message]);

const ATTACKS: Readonly<Record<string, (lane: Lane) => void>> = {
  "a bit of a frame is turned": inPlace((message) => [flipped(message, 0)]),
  "a bit of a call's number is turned": inPlace((message) => [flipped(message, 4)]),
  "a bit of a length is turned": inPlace((message) => [flipped(message, 8)]),
  "a bit of what is said is turned": inPlace((message) => [flipped(message, message.length - 18)]),
  "a bit of the proof is turned": inPlace((message) => [flipped(message, message.length - 1, 0x80)]),
  "it has a proof of zeros": inPlace((message) => [concat(message.slice(0, -16), new Uint8Array(16))]),
  "it has no proof": inPlace((message) => [message.slice(0, -16)]),
  "it is cut": inPlace((message) => [message.slice(0, -1)]),
  "it has a byte more": inPlace((message) => [concat(message, Uint8Array.of(0))]),
  "it is nothing": inPlace(() => [new Uint8Array()]),
  "it is left out": inPlace(() => []),
  "it comes twice": inPlace((message) => [message, message]),
  "an older one comes before it": inPlace((
    message,
    past,
  ) => [past.findLast((each) => typeof each !== "string")!, message]),
  "a ping is put before it": inPlace((message) => [concat(Uint8Array.of(7), new Uint8Array(16)), message]),
  "it comes as text": inPlace((message) => [String.fromCharCode(...message)]),
  "it changes places with the next one": (lane) => {
    let held: Bytes | undefined;
    tamper(
      lane,
      (message, index) => index === AT ? (held = message, []) : index === AT + 1 ? [message, held!] : [message],
    );
  },
  "it is made one with the next one": (lane) => {
    let held: Bytes | undefined;
    tamper(
      lane,
      (message, index) =>
        index === AT ? (held = message, []) : index === AT + 1 ? [concat(held!.slice(0, -16), message)] : [message],
    );
  },
};

describe("T4.1 a connection with somebody in between", () => {
  for (const [name, attack] of Object.entries(ATTACKS)) {
    for (const direction of ["toServer", "toClient"] as const) {
      test(`T4.1 nobody gets a message ${direction} from where ${name}`, async () => {
        const { client, wire, handled, transport } = await opened();
        attack(wire[direction]);
        const { texts, error } = await soon(readAll(client.both(slowly(...LETTERS))));
        assert.equal(codeOf(error), "unavailable");
        assertPrefix(texts, LETTERS.map((each) => each.toUpperCase()));
        for (const each of handled) assertPrefix(each.texts, LETTERS);
        assert.ok(texts.length < LETTERS.length);
        await settle();
        const by = direction === "toServer" ? "server" : "client";
        const [first] = wire.closes;
        assert.ok(first && first.by === by && [4400, 4401].includes(first.code), JSON.stringify(wire.closes));
        if (direction === "toServer") {
          assert.ok(handled.every(({ whole }) => !whole), "the handler took it for complete");
        }
        // The next call is on another connection, and is as good as ever.
        assert.deepEqual((await soon(readAll(client.down({ text: "xy" })))).texts, ["x", "y"]);
        await transport[Symbol.asyncDispose]();
      });
    }
  }

  for (const direction of ["toServer", "toClient"] as const) {
    test(`T4.1 a message ${direction} is none on another connection of the same client`, async () => {
      const it = await streaming();
      const [one, other] = [await opened(it), await opened(it)];
      const stolen = gate<Bytes>();
      tamper(one.wire[direction], (message) => (stolen.open(message), [message]));
      tamper(other.wire[direction], (message) => {
        void stolen.opened.then((taken) => push(other.wire[direction], taken));
        return direction === "toServer" ? [] : [message];
      });
      const results = await soon(
        Promise.all([one, other].map(({ client }) => readAll(client.both(slowly(...LETTERS))))),
      );
      assert.deepEqual([results[0]!.texts.length, results[0]!.error], [6, undefined]);
      assert.equal(codeOf(results[1]!.error), "unavailable");
      assert.ok([4400, 4401].includes(other.wire.closes[0]!.code));
      for (const each of [one, other]) await each.transport[Symbol.asyncDispose]();
    });

    test(`T4.1 what one side said is not said back to it (${direction === "toServer" ? "server" : "client"})`, async () => {
      const { client, wire, transport } = await opened();
      const own = direction === "toServer" ? "toClient" : "toServer";
      wire[own].tamper = (message) => {
        if (typeof message !== "string") push(wire[direction], message as Bytes);
        return [message];
      };
      const { error } = await soon(readAll(client.both(slowly(...LETTERS))));
      assert.equal(codeOf(error), "unavailable");
      assert.equal(wire.closes[0]!.by, direction === "toServer" ? "server" : "client");
      await transport[Symbol.asyncDispose]();
    });
  }

  test("T4.1 a stream that is cut with its connection is not one that ended", async () => {
    const { client, wire, handled, transport } = await opened();
    tamper(wire.toClient, (message, index) => {
      if (index === AT) wire.cut();
      return [message];
    });
    const { texts, error } = await soon(readAll(client.both(slowly(...LETTERS))));
    assertPrefix(texts, LETTERS.map((each) => each.toUpperCase()));
    assert.equal(codeOf(error), "unavailable");
    assert.equal(handled[0]!.whole, false);
    await transport[Symbol.asyncDispose]();
  });
});

describe("T4.1 T4.3 the hellos of a connection", () => {
  test("T4.3 a client's hello is taken on no other connection, nor are the messages after it", async () => {
    const { wire, server, handled, audit, transport, client } = await opened();
    await client.plain({ text: "once" });
    const said = [...wire.toServer.log];
    assert.equal(handled.length, 1);
    const hellos = said.filter((each) => typeof each === "string");
    audit.events.length = 0;
    // As they came, and each by itself: the first one only introduced the client.
    for (const all of [said, ...hellos.map((hello) => [hello, ...said.filter((each) => typeof each !== "string")])]) {
      const upgrade = await server.upgrade(upgradeRequest({ url: "https://streams.test/postern.v1" }));
      assert.ok(!(upgrade instanceof Response));
      const played = playedPipe();
      const user = upgrade.open(played.pipe);
      for (const message of all) {
        user.receive(message);
        await settle(8);
      }
      user.closed();
      const answers = played.sent.map((each) => JSON.parse(each as string).status);
      assert.ok(answers.every((status) => status === 401) && answers.length > 0, `${answers}`);
      assert.ok(played.closes.length > 0);
    }
    assert.ok(
      audit.events.every(({ reason }) => reason === "replayed"),
      JSON.stringify(audit.events.map((e) => e.reason)),
    );
    assert.equal(handled.length, 1);
    await transport[Symbol.asyncDispose]();
  });

  for (
    const [name, changed] of Object.entries({
      "another status": { status: 201 },
      "the status of a refusal": { status: 403 },
      "a body": { body: "{}" },
      "no headers": { headers: {} },
      "another media type": { headers: { "content-type": "application/json" } },
    })
  ) {
    test(`T4.1 a client takes no welcome with ${name}`, async () => {
      const it = await streaming();
      const { client, transport } = socketClient(it, (wire) => {
        wire.toClient.tamper = (message) => {
          if (typeof message !== "string") return [message];
          const hello = JSON.parse(message);
          if (hello.status !== 200) return [message];
          const headers = { ...hello.headers, ...(changed as { headers?: object }).headers };
          const given = { ...hello, ...changed, ...name === "no headers" ? {} : { headers } };
          return [JSON.stringify(given)];
        };
      });
      assert.equal(codeOf((await soon(readAll(client.down({ text: "a" })))).error), "unavailable");
      assert.deepEqual(it.handled, []);
      await transport[Symbol.asyncDispose]();
    });
  }

  test("T4.1 a client takes no welcome that was another connection's", async () => {
    const it = await streaming();
    const one = await opened(it);
    const welcome = one.wire.toClient.log.findLast((each) => typeof each === "string")!;
    const socket = socketClient(it, (wire) => {
      wire.toClient.tamper = (message) => typeof message === "string" ? [welcome] : [message];
    });
    it.handled.length = 0;
    assert.equal(codeOf((await soon(readAll(socket.client.down({ text: "a" })))).error), "unavailable");
    assert.deepEqual(it.handled, []);
    for (const each of [one, socket]) await each.transport[Symbol.asyncDispose]();
  });

  test("T4.1 a server takes no hello whose headers were changed", async () => {
    const changes: readonly ((headers: Record<string, string>) => Record<string, string>)[] = [
      ({ signature: _, ...headers }) => headers,
      (headers) => ({ ...headers, signature: `s=:${"A".repeat(43)}=:` }),
      (headers) => ({ ...headers, "workload-identity-token": "a.b.c" }),
      (headers) => ({ ...headers, authorization: "Capability x" }),
      (headers) => ({ ...headers, "content-digest": `sha-256=:${"A".repeat(43)}=:` }),
      (headers) => ({ ...headers, "signature-input": headers["signature-input"]!.replace(/created=\d+/, "created=1") }),
    ];
    for (const change of changes) {
      const it = await streaming();
      const { client, transport } = socketClient(it, (wire) => {
        wire.toServer.tamper = (message) => {
          if (typeof message !== "string") return [message];
          const { headers, codec } = JSON.parse(message);
          return [JSON.stringify({ headers: change(headers), codec })];
        };
      });
      assert.equal(codeOf((await soon(readAll(client.down({ text: "a" })))).error), "unavailable");
      assert.deepEqual(it.handled, []);
      await transport[Symbol.asyncDispose]();
    }
  });
});

/** Puts a message into a lane, as if it had been sent. */
function push(lane: Lane, message: Bytes): void {
  lane.queue.push(message);
  setTimeout(() => lane.deliver());
}

function assertPrefix(texts: readonly string[], of: readonly string[]): void {
  assert.deepEqual(texts, of.slice(0, texts.length));
}

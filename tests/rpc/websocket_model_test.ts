import {
  anonymous,
  type Call,
  createServer,
  implement,
  NotSentError,
  publicOnly,
  rpc,
  RpcError,
  service,
  stream,
} from "../../src/rpc/mod.ts";
import { webSocketTransport } from "../../src/rpc/websocket_transport.ts";
import { PATIENCE_MS } from "../_patience.ts";
import { collect } from "./_rig.ts";
import { network, settle, virtualClock } from "./_sockets.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";

const Item = v.strictObject({ call: v.number(), n: v.number() });
const Out = v.object({ n: v.number() });
const Model = service("model.v1", {
  one: rpc(Item, Out),
  down: rpc(Item, stream(Out)),
  up: rpc(stream(Item), Out),
  both: rpc(stream(Item), stream(Out)),
});

type Shape = "one" | "down" | "up" | "both";

/** What the model knows of one call: what may and what must become of it. */
interface Modelled {
  readonly id: number;
  readonly shape: Shape;
  readonly length: number;
  readonly controller: AbortController;
  answers: AsyncIterator<unknown> | undefined;
  /** What its reader was given, in order. */
  readonly given: number[];
  reading: Promise<void> | undefined;
  ended: "answered" | "left" | { readonly error: RpcError } | undefined;
  /** Its connection was cut, or may have been. */
  cut: boolean;
  /** How many messages its handler made or took, and how often it was run. */
  made: number;
  runs: number;
  finished: number;
  /** How many messages the client's side of it made. */
  sent: number;
}

type Step =
  | { readonly do: "call"; readonly shape: Shape; readonly length: number }
  | { readonly do: "read" | "leave" | "abort"; readonly which: number; readonly times: number }
  | { readonly do: "deliver"; readonly way: "toServer" | "toClient"; readonly times: number }
  | { readonly do: "turn" }
  | { readonly do: "cut" };

const which = fc.nat(30);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("call" as const),
      shape: fc.constantFrom<Shape[]>("one", "down", "up", "both"),
      length: fc.oneof(fc.nat(5), fc.nat(120)),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("read" as const), which, times: fc.nat(50) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom("leave" as const, "abort" as const), which, times: fc.constant(1) }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("deliver" as const),
      way: fc.constantFrom("toServer" as const, "toClient" as const),
      times: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("turn" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("cut" as const) }) },
);

function world() {
  const calls: Modelled[] = [];
  let running = 0;
  const run = (id: number) => {
    running++;
    calls[id]!.runs++;
  };
  const finish = (id: number) => {
    running--;
    calls[id]!.finished++;
  };
  async function* down({ call, n }: { call: number; n: number }) {
    run(call);
    try {
      for (let i = 1; i <= n; i++) {
        calls[call]!.made = i;
        yield { n: i };
      }
    } finally {
      finish(call);
    }
  }
  async function* both(messages: AsyncIterable<{ call: number; n: number }>) {
    let id = -1;
    try {
      for await (const { call, n } of messages) {
        if (id < 0) run(id = call);
        calls[id]!.made++;
        yield { n };
      }
    } finally {
      if (id >= 0) finish(id);
    }
  }
  const server = createServer(
    implement(Model, {
      one({ call, n }) {
        run(call);
        finish(call);
        return { n };
      },
      down,
      async up(messages) {
        let taken = 0;
        for await (const { n } of both(messages)) {
          assert.equal(n, ++taken, "in order, and each once");
        }
        return { n: taken };
      },
      both,
    }),
    { guard: publicOnly(["model.v1/one", "model.v1/down", "model.v1/up", "model.v1/both"]), log: collect().log },
  );
  const net = network(server, (wire) => {
    wire.toServer.flowing = wire.toClient.flowing = false;
  });
  const clock = virtualClock();
  const transport = webSocketTransport("wss://model.test", {
    prover: anonymous(),
    open: net.open,
    clock,
  });

  async function* outgoing(call: Modelled) {
    for (let n = 1; n <= call.length; n++) {
      call.sent = n;
      yield { call: call.id, n };
    }
  }

  function begin(shape: Shape, length: number): void {
    const controller = new AbortController();
    const call: Modelled = {
      id: calls.length,
      shape,
      length,
      controller,
      answers: undefined,
      given: [],
      reading: undefined,
      ended: undefined,
      cut: false,
      made: 0,
      runs: 0,
      finished: 0,
      sent: 0,
    };
    calls.push(call);
    const method = Model.methods[shape];
    const input = method.streamsInput
      ? { message: undefined, messages: outgoing(call) }
      : { message: { call: call.id, n: length } };
    const made: Call = { method, ...input, timeoutMs: Infinity, signal: controller.signal };
    transport(made).then((reply) => {
      if (method.streamsOutput) call.answers = reply.messages![Symbol.asyncIterator]();
      else {
        call.given.push((reply.message as { n: number }).n);
        call.ended = "answered";
      }
    }, (error) => call.ended = { error });
  }

  function read(call: Modelled | undefined, times: number): void {
    if (!call?.answers || call.ended) return;
    call.reading ??= (async () => {
      try {
        for (let i = 0; i < times && !call.ended; i++) {
          const next = await call.answers!.next();
          if (next.done) call.ended ??= "answered";
          else call.given.push((next.value as { n: number }).n);
        }
      } catch (error) {
        call.ended ??= { error: error as RpcError };
      }
      call.reading = undefined;
    })();
  }
  return { calls, clock, server, net, transport, begin, read, running: () => running };
}

async function play(steps: readonly Step[]): Promise<void> {
  const it = world();
  const pick = (n: number) => it.calls[n % Math.max(1, it.calls.length)];
  for (const each of steps) {
    if (each.do === "call") it.begin(each.shape, each.length);
    else if (each.do === "turn") {
      it.clock.pass(400);
      await settle(1);
    } else if (each.do === "read") it.read(pick(each.which), each.times);
    else if (each.do === "cut") {
      it.net.wires.forEach((wire) => wire.cut());
      for (const call of it.calls) if (!call.ended) call.cut = true;
    } else if (each.do === "deliver") {
      for (const wire of it.net.wires) for (let i = 0; i < each.times; i++) wire[each.way].deliver();
      for (let i = 0; i < 30; i++) await undefined;
    } else {
      const call = pick(each.which);
      if (!call || call.ended) continue;
      if (each.do === "abort") call.controller.abort();
      else if (call.answers) {
        call.ended = "left";
        void call.answers.return!();
      }
    }
    assertBounds(it.calls);
  }
  await finish(it);
  assertOutcomes(it.calls, steps.some((each) => each.do === "cut"));
  assert.equal(it.running(), 0, "every handler has ended");
  await it.server[Symbol.asyncDispose]();
  await it.transport[Symbol.asyncDispose]();
  const codes = it.net.wires.flatMap(({ closes }) => closes.map(({ code }) => code));
  assert.ok(codes.every((code) => code === 1000 || code === 4503), `nobody broke the protocol: ${codes}`);
}

/** Everything is delivered and read, until nothing is left to happen. */
async function finish(it: ReturnType<typeof world>): Promise<void> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  for (let round = 1; performance.now() < giveUpAt; round++) {
    // What waits for its time goes on too; less of it than an idle connection has.
    if (round % 20 === 0 && round <= 4_000) it.clock.pass(20);
    for (const call of it.calls) it.read(call, 1_000);
    let delivered = false;
    for (const { toServer, toClient } of it.net.wires) {
      delivered = [toServer.deliver(), toClient.deliver()].includes(true) || delivered;
    }
    await settle(1);
    if (!delivered && it.calls.every(({ ended }) => ended)) break;
  }
  for (const wire of it.net.wires) while (wire.toServer.deliver());
  await settle(6);
}

/** At any time no side is ahead of the other by more than its credit. */
function assertBounds(calls: readonly Modelled[]): void {
  for (const { shape, made, sent, given } of calls) {
    if (shape === "down") assert.ok(made - given.length <= 64 + 1, `${made} were made, ${given.length} taken`);
    if (shape === "both" || shape === "up") assert.ok(sent - made <= 64 + 1, `${sent} were sent, ${made} taken`);
  }
}

function assertOutcomes(calls: readonly Modelled[], anyCut: boolean): void {
  for (const call of calls) {
    const { shape, length, given, ended, cut, runs, controller } = call;
    assert.ok(runs <= 1, "nothing is done twice");
    assert.ok(ended, `the call of ${shape} ended`);
    const wanted = shape === "down" || shape === "both" ? Array.from({ length }, (_, i) => i + 1) : [length];
    assert.deepEqual(given, wanted.slice(0, given.length), "in order, and each once");
    if (ended === "answered") assert.deepEqual(given, wanted);
    if (typeof ended !== "object") continue;
    assert.ok(ended.error instanceof RpcError, String(ended.error));
    assert.ok(ended.error.received);
    if (ended.error.code === "canceled") assert.ok(controller.signal.aborted);
    else {
      assert.equal(ended.error.code, "unavailable");
      assert.ok(cut || (anyCut && ended.error instanceof NotSentError), "only a cut connection loses a call");
    }
    if (ended.error instanceof NotSentError) assert.equal(runs, 0, "what was not sent was not done");
  }
}

test("webSocketTransport() and its server do what their model does, in any order of calls, messages, cancels and cuts", async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), play), {
    numRuns: 60,
    endOnFailure: true,
  });
});

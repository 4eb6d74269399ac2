import { letGo } from "../internal/let_go.ts";
import { asking, type Taker } from "../internal/sequence.ts";
import { BLOCK_BYTES } from "./block_reader.ts";
import { END_STREAM } from "./connect_protocol.ts";
import { type EnvelopeWriter, envelopeWriter } from "./envelope_writer.ts";
import type { Failed, OutgoingBody } from "./outgoing_body.ts";

/** What leaves next. */
export interface Filled {
  readonly chunk: Uint8Array<ArrayBuffer> | undefined;
  /** Whether nothing comes after it. */
  readonly done: boolean;
}

/** Turns messages into chunks of envelopes. */
export interface MessagePump {
  /**
   * Makes the next chunk of what is ready, waiting only for its first message.
   *
   * @throws The body cannot be ended as it must: it has to be broken off.
   */
  fill(): Promise<Filled>;
  /** Nobody wants more. */
  leave(): void;
  /** Whether {@linkcode leave} was called before the end. */
  readonly left: boolean;
}

/** The pump of one body. */
export function messagePump(body: OutgoingBody): MessagePump {
  const pump: Pump = {
    body,
    writer: envelopeWriter(body.channel),
    messages: undefined,
    ask: () => void begin(pump),
    state: "idle",
    failure: undefined,
    messagesCame: 0,
    filling: false,
    wake: undefined,
    over: false,
    left: false,
    turnedAt: performance.now(),
    // The same functions for every message: a stream of small ones is made of little else than what each allocates.
    taker: {
      give: (message) => came(pump, message),
      end: () => ended(pump, undefined),
      fail: (error) => ended(pump, { error }),
    },
  };
  return {
    get left() {
      return pump.left;
    },
    async fill() {
      pump.filling = true;
      try {
        return await nextChunk(pump);
      } catch (error) {
        return await finish(pump, { error });
      } finally {
        pump.filling = false;
      }
    },
    leave() {
      if (pump.over) return;
      pump.left = true;
      body.left();
      end(pump);
      if (pump.messages) void letGo(pump.messages);
      pump.wake?.();
    },
  };
}

interface Pump {
  readonly body: OutgoingBody;
  readonly writer: EnvelopeWriter;
  messages: AsyncIterator<unknown> | undefined;
  /** Asks for a message. */
  ask: () => void;
  state: "idle" | "waiting" | "ended" | "failed";
  failure: Failed | undefined;
  /** How many messages came in all. */
  messagesCame: number;
  /** Whether somebody takes what comes. */
  filling: boolean;
  /** Ends the waiting for a message, where somebody waits. */
  wake: (() => void) | undefined;
  over: boolean;
  left: boolean;
  /** When others had their turn last, as far as is known. */
  turnedAt: number;
  readonly taker: Taker<unknown>;
}

async function nextChunk(pump: Pump): Promise<Filled> {
  const { writer } = pump;
  if (pump.state === "idle") ask(pump);
  while (pump.state === "waiting" && !pump.left) {
    await untilQuiet(pump);
    if (!isWaiting(pump) || pump.left || writer.bytes > 0) break;
    await untilWoken(pump);
    pump.turnedAt = performance.now();
    if (isWaiting(pump)) break; // time for a sign of life
    if (isIdle(pump)) ask(pump); // it waited for the first of those that are ready
  }
  if (pump.left) return NO_MORE;
  if (pump.state === "ended" || pump.state === "failed") return await finish(pump, pump.failure);
  if (writer.bytes >= BLOCK_BYTES) await fair(pump);
  return { chunk: writer.take(), done: false };
}

// Functions, because the compiler does not know that a state changes while something is awaited.
const isWaiting = ({ state }: Pump) => state === "waiting";
const isIdle = ({ state }: Pump) => state === "idle";

function ask(pump: Pump): void {
  pump.state = "waiting";
  pump.ask();
}

async function begin(pump: Pump): Promise<void> {
  try {
    const messages = (await pump.body.open())[Symbol.asyncIterator]();
    pump.messages = messages;
    pump.ask = asking(messages, pump.taker);
    if (pump.left) void letGo(messages);
    pump.ask();
  } catch (error) {
    ended(pump, { error });
  }
}

/** Takes a message, and asks for the next one while there is room and somebody who takes it. */
function came(pump: Pump, message: unknown): void {
  if (pump.left || pump.state !== "waiting") return;
  const { writer } = pump;
  try {
    writer.write(0, pump.body.codec.encode(message));
  } catch (error) {
    return ended(pump, { error });
  }
  pump.messagesCame++;
  if (!pump.filling || pump.wake || writer.bytes >= BLOCK_BYTES) settle(pump, "idle");
  else pump.ask();
}

function ended(pump: Pump, failure: Failed | undefined): void {
  if (pump.left || pump.state !== "waiting") return;
  pump.failure = failure;
  settle(pump, failure ? "failed" : "ended");
}

function settle(pump: Pump, state: Pump["state"]): void {
  pump.state = state;
  pump.wake?.();
}

/** What a generator gives without waiting for anything is here after a few turns of the microtask queue. */
async function untilQuiet(pump: Pump): Promise<void> {
  let seen = pump.messagesCame;
  for (let turn = 0; pump.state === "waiting" && turn < READY_TURNS; turn++) {
    await TURN;
    if (seen === pump.messagesCame) continue;
    seen = pump.messagesCame;
    turn = 0;
  }
}

/** Waits for a message; a proven stream says now and then that it is alive, because some hosts end silent ones. */
async function untilWoken(pump: Pump): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  await new Promise<void>((resolve) => {
    pump.wake = resolve;
    if (pump.body.channel) timer = setTimeout(resolve, SIGN_OF_LIFE_MS);
  });
  pump.wake = undefined;
  clearTimeout(timer);
}

/** Messages that never wait would leave the event loop to nobody else: not even to the timer of their deadline. */
async function fair(pump: Pump): Promise<void> {
  if (performance.now() - pump.turnedAt < MAX_TURN_MS) return;
  await new Promise((resolve) => setTimeout(resolve, 0));
  pump.turnedAt = performance.now();
}

async function finish(pump: Pump, failure: Failed | undefined): Promise<Filled> {
  const { writer, messages } = pump;
  if (failure && messages) void letGo(messages); // what cannot be encoded, or proven, was not their own failure
  try {
    const content = await pump.body.last(failure);
    if (content !== undefined) writer.write(END_STREAM, content);
    return { chunk: writer.bytes > 0 && !pump.left ? writer.take() : undefined, done: true };
  } finally {
    end(pump);
  }
}

function end(pump: Pump): void {
  if (pump.over) return;
  pump.over = true;
  pump.body.ended();
}

const TURN = /* @__PURE__ */ Promise.resolve();

const NO_MORE: Filled = /* @__PURE__ */ Object.freeze({ chunk: undefined, done: true });

/** Enough for a few nested async generators. */
const READY_TURNS = 24;

/** How often a proven stream that has nothing to say sends an empty block, in milliseconds. */
const SIGN_OF_LIFE_MS = 20_000;

/** How long messages that are ready may keep the event loop, in milliseconds. */
const MAX_TURN_MS = 50;

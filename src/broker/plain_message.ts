import type { Schema } from "../rpc/mod.ts";
import { settlingOf } from "./memory/deliver.ts";
import type { Engine } from "./memory/engine.ts";
import type { Item } from "./memory/place.ts";
import { positionText } from "./memory/position.ts";
import type { Message, Published } from "./message.ts";

/** What a message is between the parts of a process. */
export interface PlainEvent {
  /** Its id. */
  readonly id: string;
  /** When it was published, in milliseconds since 1970. */
  readonly timeMs: number;
  /** What the schema made of it. */
  readonly value: unknown;
  /** Which schema that was. */
  readonly schema: Schema;
}

// Classes, for the sake of their getters: a date takes as long to make as all else of a message, and hardly anybody asks for
// it; a getter of an object that is none of a class takes ten times as long.

/** A message as a subscriber within the process gets it. */
export class PlainMessage<Data> implements Message<Data, undefined> {
  readonly data: Data;
  readonly id: string;
  readonly topic: string;
  readonly publisher: undefined = undefined;
  readonly attempt: number;
  readonly sequence = 0;
  readonly orderingKey: string | undefined;
  readonly missing = 0;
  readonly late = false;
  readonly ack: () => void;
  readonly nack: (options?: { readonly delayMs?: number }) => void;
  readonly reject: () => void;
  readonly #engine: Engine<PlainEvent>;
  readonly #item: Item<PlainEvent>;

  constructor(engine: Engine<PlainEvent>, item: Item<PlainEvent>, data: Data) {
    const { message: { event, topic, orderingKey }, attempt } = item;
    const { ack, nack } = settlingOf(engine, item);
    this.data = data;
    this.id = event.id;
    this.topic = topic;
    this.attempt = attempt;
    this.orderingKey = orderingKey;
    this.ack = ack;
    this.nack = nack;
    this.reject = ack;
    this.#engine = engine;
    this.#item = item;
  }

  get time(): Date {
    return new Date(this.#item.message.event.timeMs);
  }

  get position(): string {
    return positionText(this.#engine, this.#item.message.position);
  }
}

/** What became of a message that was published within the process. */
export class PlainPublished implements Published {
  readonly id: string;
  readonly #timeMs: number;

  constructor(id: string, timeMs: number) {
    this.id = id;
    this.#timeMs = timeMs;
  }

  get time(): Date {
    return new Date(this.#timeMs);
  }
}

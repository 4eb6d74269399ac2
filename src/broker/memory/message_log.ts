import type { OutgoingEvent } from "../broker.ts";
import type { StoredEvent } from "./broker_store.ts";

/** The messages of all topics, in the order of their positions, which have no gaps. */
export interface MessageLog<Event> {
  /** The position of the oldest that is kept, or the end. */
  readonly first: number;
  /** The position that the next one gets. */
  readonly end: number;
  /** How much room those that are kept take. */
  readonly bytes: number;
  /** The message at a position from `first` to before `end`. */
  at(position: number): StoredEvent<Event>;
  /** Keeps a message, whose position must be `end`, and which takes so much room. */
  push(message: StoredEvent<Event>, bytes: number): void;
  /** Forgets the oldest. */
  shift(): void;
  /** Takes the newest back. */
  pop(): void;
}

/**
 * Makes a log: a ring that grows, so that the oldest is forgotten as fast as the newest is added.
 *
 * @param first The position of the first message.
 */
export function messageLog<Event>(first: number): MessageLog<Event> {
  let slots = new Array<StoredEvent<Event> | undefined>(FEW);
  // Apart, because the oldest message is the one that no cache of the processor has.
  let sizes = new Array<number>(FEW).fill(0);
  let bytes = 0;
  let start = first;
  let end = first;
  const grow = () => {
    const more = new Array<StoredEvent<Event> | undefined>(2 * slots.length);
    const moreSizes = new Array<number>(2 * slots.length).fill(0);
    for (let position = start; position < end; position++) {
      more[position % more.length] = slots[position % slots.length];
      moreSizes[position % more.length] = sizes[position % slots.length]!;
    }
    [slots, sizes] = [more, moreSizes];
  };
  const forget = (position: number) => {
    const slot = position % slots.length;
    bytes -= sizes[slot]!;
    slots[slot] = undefined;
  };

  return {
    get first() {
      return start;
    },
    get end() {
      return end;
    },
    get bytes() {
      return bytes;
    },
    at: (position) => slots[position % slots.length]!,
    push(message, size) {
      if (end - start === slots.length) grow();
      const slot = end++ % slots.length;
      slots[slot] = message;
      sizes[slot] = size;
      bytes += size;
    },
    shift: () => forget(start++),
    pop: () => forget(--end),
  };
}

/** How much room a message takes: its texts, at two bytes for a character; of what is no text nothing is known. */
export function sizeOf(
  { topic, id, event, orderingKey }: Omit<OutgoingEvent<unknown>, "id"> & { readonly id?: string | undefined },
): number {
  const characters = topic.length + (id?.length ?? 0) + (orderingKey?.length ?? 0);
  return 2 * (typeof event === "string" ? characters + event.length : characters);
}

const FEW = 64;

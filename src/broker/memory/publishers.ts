import { BrokerError } from "../broker_error.ts";

/** Publishers who wait for room, in the order in which they came. */
export interface Publishers<Message> {
  /** How many wait. */
  readonly size: number;
  /** Waits; an abort ends it. */
  wait(message: Message, signal: AbortSignal | undefined): Promise<void>;
  /** Who has waited longest. */
  peek(): Message | undefined;
  /** Lets the first one go on, as soon as its message is kept. */
  admit(keeping: Promise<void>): void;
  /** Ends all waiting. */
  refuse(error: () => unknown): void;
}

/**
 * Makes a line of publishers.
 *
 * @param maxWaiting How many may wait.
 */
export function publishers<Message>(maxWaiting: number): Publishers<Message> {
  const line = new Set<Publisher<Message>>();
  const first = () => line.values().next().value;
  const leave = (publisher: Publisher<Message>) => {
    line.delete(publisher);
    publisher.signal?.removeEventListener("abort", publisher.abort);
  };
  return {
    get size() {
      return line.size;
    },
    wait(message, signal) {
      if (line.size >= maxWaiting) {
        return Promise.reject(new BrokerError("full", `Cannot publish: ${maxWaiting} others wait for room`));
      }
      return new Promise((resolve, reject) => {
        const abort = () => {
          leave(publisher);
          reject(signal!.reason);
        };
        const publisher = { message, signal, resolve, reject, abort };
        line.add(publisher);
        signal?.addEventListener("abort", abort);
      });
    },
    peek: () => first()?.message,
    admit(keeping) {
      const publisher = first()!;
      leave(publisher);
      publisher.resolve(keeping);
    },
    refuse(error) {
      for (const publisher of line) {
        leave(publisher);
        publisher.reject(error());
      }
    },
  };
}

interface Publisher<Message> {
  readonly message: Message;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (keeping: Promise<void>) => void;
  readonly reject: (error: unknown) => void;
  readonly abort: () => void;
}

/** How items are worked on. */
export interface AheadOptions<Item, Result> {
  /** Begins the work on an item; its promise never rejects. */
  readonly begin: (item: Item) => Promise<Result>;
  /** Takes an item that was begun, or came, and that nobody will ask for. */
  readonly giveBack: (item: Item) => void;
  /** How many may be begun now; the one that is asked for in any case. */
  readonly most: () => number;
}

/** Results in the order of their items, each begun before it is asked for; asked for by one at a time. */
export interface Ahead<Result> {
  /** The next result, undefined at the end. */
  next(): Promise<Result | undefined>;
  /** Ends it: what nobody has asked for is given back. The source is ended by whoever has it. */
  stop(): void;
}

/**
 * Begins the work on items before their results are asked for, so that it is done side by side.
 *
 * @param source The items.
 * @param options How they are worked on.
 */
export function ahead<Item, Result>(source: AsyncIterator<Item>, options: AheadOptions<Item, Result>): Ahead<Result> {
  const { begin, giveBack, most } = options;
  const begun: { readonly item: Item; readonly result: Promise<Result> }[] = [];
  const state = {
    isAsked: false,
    ended: false,
    stopped: false,
    failure: undefined as { readonly error: unknown } | undefined,
  };
  let [wakeReader, wakeWriter] = [() => {}, () => {}];
  const fill = async () => {
    try {
      while (!state.stopped) {
        if (begun.length >= Math.max(most(), state.isAsked ? 1 : 0)) {
          await new Promise<void>((resolve) => wakeWriter = resolve);
          continue;
        }
        const next = await source.next();
        if (next.done) break;
        if (state.stopped) giveBack(next.value);
        else begun.push({ item: next.value, result: begin(next.value) });
        wakeReader();
      }
    } catch (error) {
      state.failure = { error };
    } finally {
      state.ended = true;
      wakeReader();
    }
  };
  let filling: Promise<void> | undefined;
  return {
    async next() {
      state.isAsked = true;
      filling ??= fill();
      wakeWriter();
      while (begun.length === 0 && !state.ended && !state.stopped) {
        await new Promise<void>((resolve) => wakeReader = resolve);
      }
      const first = begun.shift();
      state.isAsked = false;
      if (first) {
        wakeWriter();
        return await first.result;
      }
      const { failure } = state;
      state.failure = undefined;
      if (failure) throw failure.error;
      return undefined;
    },
    stop() {
      state.stopped = true;
      const left = begun.splice(0);
      wakeReader();
      wakeWriter();
      for (const { item } of left) giveBack(item);
    },
  };
}

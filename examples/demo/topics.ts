import { devCa } from "../../tools/dev_ca.ts";
import { startHub } from "../07_topics/hub.ts";
import { tellStory } from "../07_topics/story.ts";
import { withstand } from "../07_topics/withstand.ts";

/** A hub, and what may happen around it. */
export interface Topics extends AsyncDisposable {
  /** Orders, a dead letter, a payment that the hub cannot read; throws when a message was lost. */
  tell(): Promise<void>;
  /** Whoever has taken the hub over gets nowhere; throws when that is not so. */
  withstand(): Promise<void>;
}

export async function startTopics(show: (line: string) => unknown): Promise<Topics> {
  const { ca, cert, key } = await devCa();
  const hub = await startHub({ ca, cert, key, log: () => {} });
  return {
    tell: () => tellStory({ reach: hub.reach, show }),
    withstand: () => withstand(hub, show),
    [Symbol.asyncDispose]: () => hub[Symbol.asyncDispose](),
  };
}

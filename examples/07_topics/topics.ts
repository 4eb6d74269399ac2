// `deno task topics`: orders and payments over a hub that anybody may have taken over.
import { devCa } from "../../tools/dev_ca.ts";
import { startHub } from "./hub.ts";
import { tellStory } from "./story.ts";
import { withstand } from "./withstand.ts";

const { ca, cert, key } = await devCa();
await using hub = await startHub({ ca, cert, key, log: () => {} });
await tellStory({ reach: hub.reach, show: console.log });
await withstand(hub, console.log);

// Loaded in the head and blocking, so that the stored choice is there before the first paint.
import { readTheme } from "./elements/stored.ts";

document.documentElement.dataset.js = "";
const theme = readTheme();
if (theme) document.documentElement.dataset.theme = theme;

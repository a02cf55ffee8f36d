import {serveCacheRequest} from './cache-worker.ts';

serveCacheRequest();

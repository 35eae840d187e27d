# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release --bin stepup && cp target/release/stepup /stepup

# No shell and no package manager: nothing in there but the program, CA certificates and libc.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /stepup /usr/local/bin/stepup
USER 65532:65532
EXPOSE 8080 9464
ENTRYPOINT ["/usr/local/bin/stepup"]
